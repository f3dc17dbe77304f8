//! The grammar of equations: that of `torch.einsum`.

use super::Label;
use crate::{Error, MAX_RANK, Result, Shape};

/// What an equation says about operands of given shapes.
#[derive(Debug)]
pub(super) struct Equation {
    /// The labels of the axes of each operand.
    pub inputs: Vec<Vec<Label>>,
    /// The labels of the result.
    pub output: Vec<Label>,
    /// The extent of each label.
    pub extents: Vec<usize>,
}

/// The labels of axes that an ellipsis stands for follow those of the letters; the last axis of
/// every ellipsis has the last label, so that they line up from the right.
const LETTERS: usize = 52;
const LABELS: usize = LETTERS + MAX_RANK;

/// A part of the equation that belongs to one tensor.
struct Term {
    before: Vec<Label>,
    /// What follows an ellipsis, if there is one.
    after: Option<Vec<Label>>,
}

fn error(equation: &str, rule: String) -> Error {
    Error::Argument { op: "einsum", rule: format!("\"{equation}\": {rule}") }
}

/// Capitals come first, as when the result is sorted.
fn label(letter: char) -> Option<Label> {
    match letter {
        'A'..='Z' => Some(letter as u8 - b'A'),
        'a'..='z' => Some(letter as u8 - b'a' + 26),
        _ => None,
    }
}

fn letter(label: usize) -> String {
    match label {
        0..26 => ((b'A' + label as u8) as char).to_string(),
        26..LETTERS => ((b'a' + label as u8 - 26) as char).to_string(),
        _ => format!("axis {} from the right of the ellipsis", LABELS - 1 - label),
    }
}

impl Term {
    fn parse(equation: &str, text: &str) -> Result<Self> {
        let mut term = Term { before: vec![], after: None };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(tail) = rest.strip_prefix("...") {
                if term.after.replace(vec![]).is_some() {
                    let rule = format!("more than one ellipsis in \"{text}\"");
                    return Err(error(equation, rule));
                }
                rest = tail;
                continue;
            }
            rest = &rest[first.len_utf8()..];
            if first.is_whitespace() {
                continue;
            }
            let Some(label) = label(first) else {
                let rule = match first {
                    '.' => "a dot that is not part of an ellipsis \"...\"".into(),
                    '-' | '>' => "the result follows one \"->\"".into(),
                    other => format!("'{other}' is no index: indices are the letters a-z and A-Z"),
                };
                return Err(error(equation, rule));
            };
            term.after.as_mut().unwrap_or(&mut term.before).push(label);
        }
        Ok(term)
    }

    fn letters(&self) -> usize {
        self.before.len() + self.after.as_ref().map_or(0, Vec::len)
    }

    /// All labels, where an ellipsis stands for `covered` axes.
    fn labels(&self, covered: usize) -> Vec<Label> {
        let mut labels = self.before.clone();
        if let Some(after) = &self.after {
            labels.extend((LABELS - covered..LABELS).map(|label| label as Label));
            labels.extend(after);
        }
        labels
    }
}

pub(super) fn parse(equation: &str, shapes: &[Shape]) -> Result<Equation> {
    let fail = |rule: String| Err(error(equation, rule));
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation, None),
    };
    if shapes.is_empty() {
        return fail("at least one operand is needed".into());
    }
    let terms: Vec<Term> =
        left.split(',').map(|text| Term::parse(equation, text)).collect::<Result<_>>()?;
    if terms.len() != shapes.len() {
        return fail(format!("{} operands are named, {} were given", terms.len(), shapes.len()));
    }
    let mut extents = vec![1; LABELS];
    let (mut inputs, mut seen, mut widest) = (vec![], vec![0; LABELS], 0);
    for (i, (term, shape)) in terms.iter().zip(shapes).enumerate() {
        let (letters, rank) = (term.letters(), shape.rank());
        let fits = if term.after.is_some() { letters <= rank } else { letters == rank };
        if !fits {
            return fail(format!("operand {i} has shape {shape}, but {letters} indices"));
        }
        let covered = rank - letters;
        widest = widest.max(covered);
        let labels = term.labels(covered);
        for (axis, &label) in labels.iter().enumerate() {
            seen[label as usize] += 1;
            let repeats = labels.iter().position(|&other| other == label);
            let own = shape[repeats.expect("it is one of them")];
            if own != shape[axis] {
                let name = letter(label as usize);
                return fail(format!(
                    "{name} is repeated in operand {i}, with extents {own} and {}",
                    shape[axis]
                ));
            }
            let extent = &mut extents[label as usize];
            if *extent != 1 && own != 1 && *extent != own {
                let name = letter(label as usize);
                return fail(format!(
                    "{name} has extent {own} in operand {i}, but {extent} before"
                ));
            }
            if own != 1 {
                *extent = own;
            }
        }
        inputs.push(labels);
    }
    let output = match right {
        Some(text) => {
            let term = Term::parse(equation, text)?;
            let labels = term.labels(widest);
            for (axis, &label) in labels.iter().enumerate() {
                let name = letter(label as usize);
                if labels[..axis].contains(&label) {
                    return fail(format!("{name} occurs twice in the result"));
                }
                if seen[label as usize] == 0 {
                    return fail(format!("{name} of the result is in no operand"));
                }
            }
            labels
        }
        // The axes of the ellipsis, then every letter that occurs once.
        None => {
            let once = (0..LETTERS).filter(|&label| seen[label] == 1);
            (LABELS - widest..LABELS).chain(once).map(|label| label as Label).collect()
        }
    };
    Ok(Equation { inputs, output, extents })
}
