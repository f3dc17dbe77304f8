//! The typed face: every method on a few numbers that can be checked by eye, and what a wrong use
//! says. One file per family.

mod basics;
mod common;
mod complex;
mod data;
#[cfg(feature = "linalg")]
mod decompositions;
mod elementwise;
mod index;
mod linalg;
mod module;
mod order;
mod reduce;
mod shape;
