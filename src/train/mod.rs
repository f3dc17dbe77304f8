//! Training: the loop with all that belongs to it, checkpoints, metrics, and what a run shows of
//! itself.

mod batch_size;
mod checkpoint;
mod config;
pub mod confusion;
#[cfg(feature = "dashboard")]
mod dashboard;
mod display;
mod epoch;
mod evaluate;
mod event;
mod finder;
mod fit;
mod folder;
mod guard;
mod history;
mod interrupt;
mod jsonl;
mod metrics;
mod numbers;
mod page;
pub mod plot;
pub mod progress;
mod record;
mod resume;
mod step;
mod stop;
mod tensorboard;
mod trainer;

pub use batch_size::{BatchSize, BatchSizeFinderConfig};
pub use checkpoint::Checkpoint;
pub use config::{Precision, TrainerConfig};
pub use confusion::ConfusionMatrix;
pub use event::{Callback, Event, Flow, Judged, Start, StepEvent};
pub use finder::{LrFinder, LrFinderConfig};
pub use folder::Checkpoints;
pub use jsonl::JsonLines;
pub use metrics::{
    Accuracy, Auroc, Average, ClassMetric, Goal, IGNORED, Metric, Metrics, Perplexity, Regression,
    TopK,
};
pub use plot::{Chart, Series};
pub use progress::Progress;
pub use record::{Best, EpochRecord, Report, Stop};
pub use step::Step;
pub use tensorboard::TensorBoard;
pub use trainer::Trainer;
