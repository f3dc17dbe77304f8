//! What the main process of the comparison asks of a peer.

#[path = "../compare/timing.rs"]
mod timing;

use std::io::{Result, stdin};

pub use timing::Workload;

/// Reads the name of a workload from stdin, times a turn of it, writes the microseconds of one call
/// to stdout, or `none` where there is no such workload, and so on until stdin ends.
pub fn serve(make: fn(&str) -> Option<Workload>) -> Result<()> {
    let mut current = String::new();
    let mut workload = None;
    for name in stdin().lines() {
        let name = name?;
        if name != current {
            drop(workload.take()); // frees the last one first
            workload = make(&name);
            current = name;
        }
        match &mut workload {
            Some(workload) => println!("{}", timing::turn(workload)),
            None => println!("none"),
        }
    }
    Ok(())
}
