//! Similarities as text.

use std::io::IsTerminal;

/// A table of more sentences would not fit a terminal.
const LARGEST_TABLE: usize = 12;
/// Pairs that are shown of more sentences.
const PAIRS: usize = 10;

/// `similarities` `[n, n]` of the sentences: all of them, or those of the closest pairs.
pub fn draw(sentences: &[String], similarities: &[f32]) -> String {
    let n = sentences.len();
    if n > LARGEST_TABLE {
        return closest(sentences, similarities);
    }
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut text = "   ".to_string();
    (1..=n).for_each(|number| text += &format!("{number:>7}"));
    text += "\n";
    for (i, (sentence, row)) in sentences.iter().zip(similarities.chunks(n)).enumerate() {
        text += &format!("{:>3}", i + 1);
        row.iter().for_each(|&similarity| text += &cell(similarity, colour));
        text += &format!("   {sentence}\n");
    }
    text
}

/// A number, the greener the closer to one.
fn cell(similarity: f32, colour: bool) -> String {
    if !colour {
        return format!("{similarity:>7.3}");
    }
    let shade = (similarity.clamp(0.0, 1.0) * 150.0) as u8;
    format!("\x1b[38;5;255;48;2;20;{};40m{similarity:>7.3}\x1b[0m", 20 + shade)
}

fn closest(sentences: &[String], similarities: &[f32]) -> String {
    let n = sentences.len();
    let mut pairs: Vec<(usize, usize)> =
        (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).collect();
    let similarity = |(i, j): (usize, usize)| similarities[i * n + j];
    pairs.sort_by(|&a, &b| similarity(b).total_cmp(&similarity(a)));
    let lines = pairs.into_iter().take(PAIRS).map(|(i, j)| {
        format!("{:>7.3}   {}\n          {}\n", similarity((i, j)), sentences[i], sentences[j])
    });
    format!("the closest pairs:\n{}", lines.collect::<String>())
}
