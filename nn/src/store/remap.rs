//! Other names for entries, by pattern.

use std::collections::HashMap;

use kiln_tensor::{Error, Result};

use crate::PathPattern;

/// Renames entries by rules of a pattern and what takes its place, each rule applied to what those
/// before it made. Returns how many entries have another name now. An error, and nothing renamed, if
/// a rule can not be applied or two entries would have one name.
pub(super) fn rename<T>(entries: &mut [(String, T)], rules: &[(&str, &str)]) -> Result<usize> {
    let rules: Vec<_> =
        rules.iter().map(|&(from, to)| (PathPattern::new(from), PathPattern::new(to))).collect();
    for (from, to) in &rules {
        let stars = to.wildcards();
        if !stars.is_empty() && stars != from.wildcards() {
            let rule = format!(
                "`{from}` can not become `{to}`: both must have the same stars and question marks \
                 in the same order, or the second none"
            );
            return Err(Error::Argument { op: "rename", rule });
        }
    }
    let mut names = Vec::with_capacity(entries.len());
    for (old, _) in entries.iter() {
        names.push(rules.iter().fold(old.clone(), |name, (from, to)| match from.captures(&name) {
            Some(captures) => to.fill(captures),
            None => name,
        }));
    }
    let mut owners = HashMap::new();
    for (name, (old, _)) in names.iter().zip(entries.iter()) {
        if let Some(other) = owners.insert(name, old) {
            let rule = format!("{other} and {old} would both be named {name}");
            return Err(Error::Argument { op: "rename", rule });
        }
    }
    let mut renamed = 0;
    for (name, (old, _)) in names.into_iter().zip(entries) {
        renamed += usize::from(*old != name);
        *old = name;
    }
    Ok(renamed)
}

/// Leaves out the entries that do not fit `pattern`; an error, and none left out, if none fits.
pub(super) fn keep<T>(entries: &mut Vec<(String, T)>, pattern: &str) -> Result<usize> {
    let pattern = PathPattern::new(pattern);
    if !entries.iter().any(|(path, _)| pattern.matches(path)) {
        let some: Vec<_> = entries.iter().take(3).map(|(path, _)| path.as_str()).collect();
        let count = entries.len();
        let rule = format!("`{pattern}` fits none of {count} entries ({}, ..)", some.join(", "));
        return Err(Error::Argument { op: "keep", rule });
    }
    entries.retain(|(path, _)| pattern.matches(path));
    Ok(entries.len())
}
