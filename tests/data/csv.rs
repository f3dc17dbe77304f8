//! Tables in text files.

use kiln::Result;
use kiln::data::{Csv, DataLoaderBuilder, Dataset};
use kiln::prelude::*;
use proptest::prelude::*;
use serde::Deserialize;

use crate::Folder;

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct House {
    rooms: u32,
    price: f64,
    sold: Option<bool>,
    street: String,
}

const HOUSES: &str = "\u{feff}price,rooms,sold,street\n\
                      1.5,3,true,\"Main, 1\"\n\
                      2e3,4,,\"with \"\"quotes\"\"\"\n";

#[test]
fn rows_are_read_into_structs_by_the_names_of_columns() {
    let folder = Folder::new("csv-rows");
    let houses = Csv::new(folder.file("a.csv", HOUSES)).rows::<House>().unwrap();
    let first = House { rooms: 3, price: 1.5, sold: Some(true), street: "Main, 1".into() };
    let second = House { rooms: 4, price: 2e3, sold: None, street: "with \"quotes\"".into() };
    assert_eq!(houses.items(), [first, second]);
}

#[test]
fn columns_of_numbers_become_a_tensor() {
    let folder = Folder::new("csv-columns");
    let table = Csv::new(folder.file("a.csv", HOUSES)).columns(&["rooms", "price"]).unwrap();
    table.assert_eq(&TensorData::from([[3.0, 1.5], [4.0, 2e3]]), true);
    let path = folder.file("a.tsv", "1\t 2 \t3\r\n-4\t5e-1\tinf\r\n");
    let plain = Csv::new(path).delimiter(b'\t').without_header();
    plain
        .columns(&["2", "1"])
        .unwrap()
        .assert_eq(&TensorData::from([[3.0, 2.0], [f64::INFINITY, 0.5]]), true);
    let rows = plain.rows::<(i32, String, f32)>().unwrap();
    assert_eq!(rows.get(0).unwrap(), (1, " 2 ".into(), 3.0));
}

#[test]
fn a_stream_of_rows_makes_batches() {
    let folder = Folder::new("csv-stream");
    let path = folder.file("a.csv", "x\n1\n2\n3\nfour\n5\n");
    let rows = move |_| Csv::new(&path).stream::<(i64,)>().unwrap();
    let loader = DataLoaderBuilder::new(|rows: Vec<(i64,)>, _: &Device| rows.len());
    let mut epoch =
        loader.batch_size(2).num_workers(1).skip_failures(1).build_stream(rows).epoch(0);
    assert_eq!(epoch.by_ref().map(Result::unwrap).collect::<Vec<_>>(), [2, 1, 1]);
    let error = epoch.skipped()[0].to_string();
    assert!(error.contains("a.csv: line 5: ") && error.contains("(item 3)"), "{error}");
}

#[test]
fn a_bad_line_is_named_with_its_file() {
    let folder = Folder::new("csv-errors");
    let error = |name: &str, text: &str| {
        let error = Csv::new(folder.file(name, text)).rows::<(i32, i32)>().unwrap_err();
        error.to_string().split_once(name).unwrap().1.to_string()
    };
    assert_eq!(
        error("a.csv", "x,y\n1,2\n3,z\n"),
        ": line 3: field 1: invalid digit found in string"
    );
    assert_eq!(error("b.csv", "x,y\n1,2\n3\n"), ": line 3: 1 fields instead of 2");
    let columns = |name: &str, text: &str, column: &str| {
        let error = Csv::new(folder.file(name, text)).columns(&[column]).unwrap_err();
        error.to_string().split_once(name).unwrap().1.to_string()
    };
    assert_eq!(
        columns("c.csv", "x,y\n1,2\n3,\n", "y"),
        ": line 3: column \"y\" is \"\", which is no number"
    );
    assert_eq!(columns("d.csv", "x,y\n1,2\n", "z"), ": there is no column \"z\"");
    let missing = Csv::new(folder.path("e.csv")).columns(&["x"]).unwrap_err().to_string();
    assert!(missing.contains("e.csv: can not be read: "), "{missing}");
    let path = folder.file("f.csv", b"x\n\xff\n");
    let error = Csv::new(path).rows::<(String,)>().unwrap_err().to_string();
    assert!(error.contains("f.csv: line 2: ") && error.contains("UTF-8"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = Folder::new("csv-any");
        let csv = Csv::new(folder.file("a.csv", bytes)).without_header();
        let _ = csv.rows::<(f32, Option<i64>)>();
        let _ = csv.columns(&["0", "3"]);
    }

    #[test]
    fn numbers_come_back_as_they_were(rows in prop::collection::vec(any::<(f64, i64)>(), 0..20)) {
        let folder = Folder::new("csv-numbers");
        let text: String = rows.iter().map(|(x, n)| format!("{n},{x:?}\n")).collect();
        let csv = Csv::new(folder.file("a.csv", text)).without_header();
        let read = csv.rows::<(i64, f64)>().unwrap();
        for ((n, x), expected) in read.items().iter().zip(&rows) {
            prop_assert_eq!((x.to_bits(), *n), (expected.0.to_bits(), expected.1));
        }
        prop_assert_eq!(read.len(), rows.len());
    }
}
