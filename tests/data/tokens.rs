//! Files of tokens.

use kiln::data::{DataLoaderBuilder, Dataset, Stack, TokenFile, TokenWindows};
use kiln::prelude::*;
use proptest::prelude::*;

use crate::Folder;

/// The windows as lists.
fn list(windows: &TokenWindows) -> Vec<[Vec<i64>; 2]> {
    let values = |tokens: Tensor<1, Int>| tokens.into_data().to_vec().unwrap();
    windows.iter().map(|item| <[_; 2]>::from(item.unwrap()).map(values)).collect()
}

#[test]
fn windows_hold_tokens_and_those_that_follow() {
    let folder = Folder::new("tokens");
    let path = folder.path("a.tok");
    for vocabulary in [10, 1 << 16, (1 << 16) + 1, u32::MAX] {
        TokenFile::write(&path, vocabulary, 0..8).unwrap();
        let width = if vocabulary <= 1 << 16 { 2 } else { 4 };
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 24 + 8 * width);
        let tokens = TokenFile::open(&path).unwrap();
        assert_eq!((tokens.len(), tokens.vocabulary()), (8, vocabulary));
        assert_eq!(tokens.get(2..5).unwrap(), [2, 3, 4]);
        let expected = [[vec![0, 1, 2], vec![1, 2, 3]], [vec![3, 4, 5], vec![4, 5, 6]]];
        assert_eq!(list(&tokens.clone().windows(3)), expected);
        let starts: Vec<_> =
            list(&tokens.clone().windows(4).step(1)).iter().map(|w| w[0][0]).collect();
        assert_eq!(starts, [0, 1, 2, 3]);
        for (block, count) in [(1, 7), (2, 3), (6, 1), (7, 1), (8, 0), (9, 0)] {
            assert_eq!(tokens.clone().windows(block).len(), count, "blocks of {block}");
        }
    }
}

#[test]
fn batches_of_windows_are_drawn_at_random_without_a_list_of_all() {
    let folder = Folder::new("tokens-random");
    let path = folder.path("a.tok");
    TokenFile::write(&path, 1000, 0..1000).unwrap();
    let windows = TokenFile::open(&path).unwrap().windows(16).step(1);
    let loader = DataLoaderBuilder::new(Stack).batch_size(4).random(1, 40).num_workers(2);
    let mut count = 0;
    for batch in loader.build(windows).epoch(0) {
        let (input, target) = batch.unwrap();
        assert_eq!(input.dims(), [4, 16]);
        (input + 1).into_data().assert_eq(&target.into_data(), true);
        count += 1;
    }
    assert_eq!(count, 10);
}

#[test]
fn raw_files_are_read_as_numpy_writes_them() {
    let folder = Folder::new("tokens-raw");
    let bytes: Vec<u8> = [5u16, 300, 0, 9].iter().flat_map(|token| token.to_le_bytes()).collect();
    let path = folder.file("train.bin", &bytes);
    let tokens = TokenFile::open_raw(&path, 2, 50257).unwrap();
    assert_eq!(tokens.get(0..4).unwrap(), [5, 300, 0, 9]);
    assert_eq!(TokenFile::open_raw(&path, 4, u32::MAX).unwrap().get(1..2).unwrap(), [9 << 16]);
    let error = TokenFile::open_raw(folder.file("odd.bin", [0; 3]), 2, 9).unwrap_err().to_string();
    assert!(error.ends_with("odd.bin: 3 bytes are no whole number of 2-byte tokens"), "{error}");
    assert!(TokenFile::open_raw(folder.file("empty.bin", []), 2, 9).unwrap().is_empty());
}

#[test]
fn tokens_outside_of_the_vocabulary_are_refused() {
    let folder = Folder::new("tokens-vocabulary");
    let path = folder.path("a.tok");
    let error = TokenFile::write(&path, 5, [1, 2, 5]).unwrap_err().to_string();
    let text = "token 5 at 2 is not below 5, the size of the vocabulary";
    assert!(error.contains("a.tok: ") && error.ends_with(text), "{error}");
    assert!(!path.exists());
    let path = folder.file("a.bin", [1, 0, 2, 0, 5, 0, 1, 0]);
    let windows = TokenFile::open_raw(path, 2, 5).unwrap().windows(1);
    assert!(windows.get(0).is_ok());
    let error = windows.get(1).unwrap_err().to_string();
    assert!(error.contains("a.bin: ") && error.ends_with(text), "{error}");
}

#[test]
fn damaged_files_are_an_error_that_says_why() {
    let folder = Folder::new("tokens-errors");
    TokenFile::write(folder.path("a"), 9, 0..4).unwrap();
    let good = std::fs::read(folder.path("a")).unwrap();
    for end in 0..good.len() {
        assert!(TokenFile::open(folder.file("b", &good[..end])).is_err(), "cut at {end}");
    }
    let error = |bytes: &[u8]| TokenFile::open(folder.file("b", bytes)).unwrap_err().to_string();
    assert!(error(b"what").ends_with("b: is no file of tokens: it does not start as one"));
    assert!(error(&[&good[..], &[0, 0]].concat()).contains("do not fit its 34 bytes"));
    let mut wrong = good.clone();
    wrong[12] = 3;
    assert!(error(&wrong).contains("is damaged: 4 tokens of 3 bytes"));
    let error = TokenFile::open(folder.path("none")).unwrap_err().to_string();
    assert!(error.contains("none: can not be read"), "{error}");
}

#[test]
fn a_range_that_is_not_there_is_an_error() {
    let folder = Folder::new("tokens-range");
    TokenFile::write(folder.path("a"), 9, 0..4).unwrap();
    let tokens = TokenFile::open(folder.path("a")).unwrap();
    assert!(tokens.get(2..5).is_err() && tokens.get(4..4).is_ok_and(|list| list.is_empty()));
    assert!(tokens.get(usize::MAX - 1..usize::MAX).is_err());
    assert!(tokens.windows(2).get(1).is_err());
}

proptest! {
    #[test]
    fn tokens_come_back_as_they_were(
        tokens in prop::collection::vec(0u32..70_000, 0..200),
        large in any::<bool>(),
    ) {
        let folder = Folder::new("tokens-any");
        let vocabulary = if large { 70_000 } else { 60_000 };
        let tokens: Vec<_> = tokens.into_iter().filter(|&token| token < vocabulary).collect();
        TokenFile::write(folder.path("a"), vocabulary, tokens.iter().copied()).unwrap();
        let file = TokenFile::open(folder.path("a")).unwrap();
        let read = file.get(0..file.len()).unwrap();
        prop_assert_eq!(read, tokens.iter().map(|&token| token as i64).collect::<Vec<_>>());
    }

    #[test]
    fn any_damage_is_read_or_refused(
        changes in prop::collection::vec((0usize..64, any::<u8>()), 1..4),
    ) {
        let folder = Folder::new("tokens-damage");
        TokenFile::write(folder.path("a"), 50, 0..20).unwrap();
        let mut bytes = std::fs::read(folder.path("a")).unwrap();
        for (place, byte) in changes {
            bytes[place] = byte;
        }
        if let Ok(file) = TokenFile::open(folder.file("b", bytes)) {
            file.clone().windows(3).iter().for_each(drop);
            let _ = file.get(0..file.len());
        }
    }
}
