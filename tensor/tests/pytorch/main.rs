//! Operations against values that PyTorch computed: `fixtures/<family>.py` wrote what
//! `<family>.rs` reads.

mod basics;
mod complex;
mod display;
mod elementwise;
mod fixture;
mod index;
mod linalg;
mod module;
mod order;
