//! A text as numbers, one for each character.

use std::fs;
use std::io;
use std::path::Path;

use kiln::prelude::*;
use kiln::{Error, Result};

/// The characters that a text is made of; the number of a character is its place here.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary(Vec<char>);

impl Vocabulary {
    pub fn of(text: &str) -> Self {
        let mut chars: Vec<char> = text.chars().collect();
        chars.sort_unstable();
        chars.dedup();
        Self(chars)
    }

    /// All of them: a text of which this is the vocabulary.
    pub fn chars(&self) -> String {
        self.0.iter().collect()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let number = |char: char| {
            self.0.binary_search(&char).map(|number| number as i64).map_err(|_| Error::Argument {
                op: "vocabulary",
                rule: format!("the network was not trained on the character {char:?}"),
            })
        };
        text.chars().map(number).collect()
    }

    pub fn decode(&self, tokens: &[i64]) -> String {
        tokens.iter().map(|&token| self.0[token as usize]).collect()
    }
}

/// The text of a file, or all of Kiln's own Rust sources.
pub fn read(path: Option<&Path>) -> Result<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let result = path.map_or_else(|| read_sources(sources), fs::read_to_string);
    result.map_err(|error| Error::File {
        path: path.unwrap_or(sources).display().to_string(),
        what: format!("{error}; `--data` takes a file of text in UTF-8"),
    })
}

/// Every Rust file of a folder and those below it, in the order of their names.
fn read_sources(folder: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let built = entry.file_name() == "target";
        if entry.file_type()?.is_dir() && !built {
            text += &read_sources(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(&path)?;
        }
    }
    Ok(text)
}

/// The pieces of a text that start at these places, `[n, length]`, and for each of their characters
/// the one that follows, `[n * length]`.
pub fn pieces(
    tokens: &[i64],
    starts: &[usize],
    length: usize,
    device: &Device,
) -> (Tensor<2, Int>, Tensor<1, Int>) {
    let cut = |shift: usize| -> Vec<i64> {
        starts.iter().flat_map(|start| &tokens[start + shift..][..length]).copied().collect()
    };
    let inputs = TensorData::new(cut(0), [starts.len(), length]);
    (Tensor::from_data(inputs, device), Tensor::from_data(cut(1).as_slice(), device))
}
