//! The trainer and its parts.

mod checkpoint;
mod fit;
mod metrics;
mod page;
mod tensorboard;
