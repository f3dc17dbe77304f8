//! Tensors as text.

use super::fixture::{Fixture, load};

static FIXTURE: Fixture = Fixture::new(|| load(include_bytes!("../fixtures/display.safetensors")));

#[test]
fn numbers_are_laid_out_as_pytorch_does() {
    let cases = include_str!("../fixtures/display.txt").split("== ").skip(1);
    let wrong: Vec<String> = cases
        .filter_map(|case| {
            let (name, expected) = case.split_once('\n').expect("a name and a text");
            let text = FIXTURE.data(name).to_string();
            let text = &text[..text.rfind("\nTensor[").expect("a last line")];
            let expected = expected.trim_end_matches('\n');
            (text != expected).then(|| format!("{name}\n{text}\ninstead of\n{expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
