//! Parameters chosen by their paths.

use std::fmt;
use std::ops::Range;

use kiln_tensor::{AnyTensor, Error, Result};
use serde::{Deserialize, Serialize};

use crate::module::{Module, Path, Visitor};

/// A pattern of paths, as shells have for files: `encoder.*.weight`.
///
/// Path and pattern are compared name by name, names being parted by dots. In a name `*` stands for
/// any characters and `?` for one; a name `**` stands for any number of names, also none.
///
/// ```
/// use kiln_nn::PathPattern;
/// let pattern = PathPattern::new("encoder.*.weight");
/// assert!(pattern.matches("encoder.0.weight"));
/// assert!(!pattern.matches("encoder.0.norm.weight"));
/// assert!(PathPattern::new("**.bias").matches("encoder.0.norm.bias"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PathPattern(String);

impl PathPattern {
    /// Any text is a pattern; one without stars and question marks matches itself alone.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Whether `path` fits as a whole.
    pub fn matches(&self, path: &str) -> bool {
        let (pattern, names) = (names(&self.0), names(path));
        fits(&pattern, &names, is_any_names, |&a, &b| name_fits(a, b).is_some()).is_some()
    }

    /// What each star and question mark stands for in `path`, in order, if it fits.
    pub(crate) fn captures(&self, path: &str) -> Option<Vec<String>> {
        let (pattern, names) = (names(&self.0), names(path));
        let many = fits(&pattern, &names, is_any_names, |&a, &b| name_fits(a, b).is_some())?;
        let (mut many, mut captures, mut at) = (many.into_iter(), Vec::new(), 0);
        for part in &pattern {
            if is_any_names(part) {
                let taken = many.next().expect("there is one range for each `**`");
                at = taken.end;
                captures.push(names[taken].join("."));
            } else {
                name_captures(part, names[at], &mut captures);
                at += 1;
            }
        }
        Some(captures)
    }

    /// The path in which the stars and question marks of this pattern, in order, are `captures`.
    pub(crate) fn fill(&self, captures: Vec<String>) -> String {
        let mut captures = captures.into_iter();
        let mut next = || captures.next().expect("there is one capture for each of them");
        let mut filled: Vec<String> = Vec::new();
        for name in names(&self.0) {
            if name == "**" {
                filled.extend(Some(next()).filter(|names| !names.is_empty()));
                continue;
            }
            let fill = |c| if matches!(c, '*' | '?') { next() } else { String::from(c) };
            filled.push(name.chars().map(fill).collect());
        }
        filled.join(".")
    }

    /// The stars and question marks, in order.
    pub(crate) fn wildcards(&self) -> Vec<&str> {
        let in_name = |name| -> Vec<&str> {
            if name == "**" { vec![name] } else { name.matches(['*', '?']).collect() }
        };
        names(&self.0).into_iter().flat_map(in_name).collect()
    }

    /// The paths of the parameters of `module` that fit. An error if there are none, which is nearly
    /// always a mistake in the pattern.
    pub fn select(&self, module: &(impl Module + ?Sized)) -> Result<Vec<String>> {
        let paths = param_paths(|visitor| module.visit(&Path::ROOT, visitor));
        self.select_from(&paths)
    }

    /// As [`PathPattern::select`], of `paths`.
    pub(crate) fn select_from(&self, paths: &[String]) -> Result<Vec<String>> {
        let found: Vec<_> = paths.iter().filter(|path| self.matches(path)).cloned().collect();
        if found.is_empty() {
            let some = paths.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
            let rule = format!("`{self}` matches none of {} parameters ({some}, ..)", paths.len());
            return Err(Error::Argument { op: "path pattern", rule });
        }
        Ok(found)
    }
}

/// The paths of all parameters, given the `visit` of a module.
pub(crate) fn param_paths(visit: impl FnOnce(&mut dyn Visitor)) -> Vec<String> {
    struct Collect(Vec<String>);
    impl Visitor for Collect {
        fn param(&mut self, path: &Path<'_>, _: &AnyTensor) {
            self.0.push(path.to_string());
        }
    }
    let mut collect = Collect(Vec::new());
    visit(&mut collect);
    collect.0
}

fn names(path: &str) -> Vec<&str> {
    path.split('.').collect()
}

fn is_any_names(part: &&str) -> bool {
    *part == "**"
}

/// Whether `items` fit `pattern`, in which some parts stand for any number of items: those that each
/// of these parts stands for.
///
/// Only the last such part is ever tried with more items: what an earlier one could take, the
/// last one can take as well. So the time is at most the product of the lengths.
fn fits<T>(
    pattern: &[T],
    items: &[T],
    is_any: impl Fn(&T) -> bool,
    same: impl Fn(&T, &T) -> bool,
) -> Option<Vec<Range<usize>>> {
    let (mut p, mut i) = (0, 0);
    let mut taken: Vec<Range<usize>> = Vec::new();
    // What comes after the last such part.
    let mut after = 0;
    loop {
        if p < pattern.len() && is_any(&pattern[p]) {
            p += 1;
            after = p;
            taken.push(i..i);
        } else if i < items.len() && p < pattern.len() && same(&pattern[p], &items[i]) {
            (p, i) = (p + 1, i + 1);
        } else if i == items.len() && p == pattern.len() {
            return Some(taken);
        } else {
            let last = taken.last_mut().filter(|last| last.end < items.len())?;
            last.end += 1;
            (p, i) = (after, last.end);
        }
    }
}

/// As [`fits`] for the characters of one name.
fn name_fits(pattern: &str, name: &str) -> Option<Vec<Range<usize>>> {
    let characters = |text: &str| text.chars().collect::<Vec<_>>();
    fits(&characters(pattern), &characters(name), |&c| c == '*', |&p, &c| p == '?' || p == c)
}

/// What the stars and question marks of `pattern` stand for in `name`, which fits.
fn name_captures(pattern: &str, name: &str, captures: &mut Vec<String>) {
    let mut many = name_fits(pattern, name).expect("it fits").into_iter();
    let characters: Vec<char> = name.chars().collect();
    let mut at = 0;
    for c in pattern.chars() {
        let taken = if c == '*' { many.next().expect("one for each star") } else { at..at + 1 };
        at = taken.end;
        if matches!(c, '*' | '?') {
            captures.push(characters[taken].iter().collect());
        }
    }
}

impl From<&str> for PathPattern {
    fn from(pattern: &str) -> Self {
        Self::new(pattern)
    }
}

impl From<String> for PathPattern {
    fn from(pattern: String) -> Self {
        Self::new(pattern)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Settings for groups of parameters, each group given by a [`PathPattern`]: a learning rate for the
/// head of a model, no weight decay for its biases. A parameter belongs to the first group that it
/// fits.
///
/// ```
/// use kiln_nn::{LinearConfig, ParamGroups};
/// use kiln_tensor::Device;
/// let decay = ParamGroups::new().with("**.bias", 0.0).with("head.**", 0.1);
/// assert_eq!(decay.get("head.bias"), Some(&0.0));
/// assert_eq!(decay.get("head.weight"), Some(&0.1));
/// assert_eq!(decay.get("body.weight"), None);
///
/// let model = LinearConfig::new(2, 2).init(&Device::cpu());
/// assert!(decay.check(&model).is_err(), "there is no head");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParamGroups<T> {
    groups: Vec<(PathPattern, T)>,
}

impl<T> ParamGroups<T> {
    /// No groups.
    pub fn new() -> Self {
        Self { groups: Vec::new() }
    }

    /// One more group, for what no group before it fits.
    pub fn with(mut self, pattern: impl Into<PathPattern>, settings: T) -> Self {
        self.groups.push((pattern.into(), settings));
        self
    }

    /// The number of the group of `path`, from 0; none if no pattern fits.
    pub fn index(&self, path: &str) -> Option<usize> {
        self.groups.iter().position(|(pattern, _)| pattern.matches(path))
    }

    /// The settings for `path`; none if no pattern fits.
    pub fn get(&self, path: &str) -> Option<&T> {
        Some(&self.groups[self.index(path)?].1)
    }

    /// The patterns and their settings in order.
    pub fn iter(&self) -> impl Iterator<Item = (&PathPattern, &T)> {
        self.groups.iter().map(|(pattern, settings)| (pattern, settings))
    }

    /// The number of groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there are no groups.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// An error if a group has no parameter of `module`, also because groups before it took all.
    pub fn check(&self, module: &(impl Module + ?Sized)) -> Result<()> {
        let paths = param_paths(|visitor| module.visit(&Path::ROOT, visitor));
        for (number, (pattern, _)) in self.groups.iter().enumerate() {
            let found = pattern.select_from(&paths)?;
            if found.iter().all(|path| self.index(path) != Some(number)) {
                let rule = format!("all that `{pattern}` matches is in groups before it");
                return Err(Error::Argument { op: "parameter groups", rule });
            }
        }
        Ok(())
    }
}

impl<T> Default for ParamGroups<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths_name_by_name() {
        for (pattern, path, expected) in [
            ("", "", true),
            ("weight", "weight", true),
            ("weight", "fc.weight", false),
            ("fc", "fc.weight", false),
            ("*", "weight", true),
            ("*", "fc.weight", false),
            ("**", "fc.weight", true),
            ("**", "", true),
            ("*.weight", "fc.weight", true),
            ("*.weight", "weight", false),
            ("**.weight", "weight", true),
            ("**.weight", "a.b.weight", true),
            ("**.weight", "a.b.weight.c", false),
            ("encoder.**", "encoder.0.fc.bias", true),
            ("encoder.**", "encoder", true),
            ("encoder.**", "encoder2.0", false),
            ("encoder.*.weight", "encoder.11.weight", true),
            ("encoder.*.weight", "encoder.0.fc.weight", false),
            ("layers.?.fc*.bias", "layers.3.fc12.bias", true),
            ("layers.?.fc*.bias", "layers.12.fc1.bias", false),
            ("layers.1?.*", "layers.12.bias", true),
            ("**.norm*.**", "a.b.norm1.weight", true),
            ("**.norm*.**", "norm", true),
            ("**.norm*.**", "a.nor.weight", false),
            ("*a*b*a", "xaybza", true),
            ("*a*b*a", "xaybzab", false),
            ("**.a.**.a", "a.b.a.b.a", true),
            ("**.a.**.a", "a.b", false),
            ("fc**", "fc1", true),
            ("fc**", "fc1.weight", false),
            ("größe.*", "größe.ü", true),
            ("gr?ße", "größe", true),
        ] {
            assert_eq!(PathPattern::new(pattern).matches(path), expected, "{pattern} of {path}");
        }
    }

    #[test]
    fn matching_stays_quick_for_many_stars() {
        let pattern = PathPattern::new("*a".repeat(40) + "b");
        assert!(!pattern.matches(&"a".repeat(2000)));
        assert!(!PathPattern::new("**.a.".repeat(40) + "b").matches(&["a"; 2000].join(".")));
    }
}
