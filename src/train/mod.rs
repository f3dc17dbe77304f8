//! What a training run shows of itself: progress while it runs, a confusion matrix and learning
//! curves when it is done.

pub mod confusion;
pub mod plot;
pub mod progress;

pub use confusion::ConfusionMatrix;
pub use plot::{Chart, Series};
pub use progress::Progress;
