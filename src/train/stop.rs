//! Stopping when there is no progress.

use kiln_tensor::Result;
use serde::{Deserialize, Serialize};

use super::config::fit_error;
use super::event::{Callback, Event, Flow};
use super::record::Best;

/// Stops a training whose monitored number gets no better: `patience` of the
/// [`TrainerConfig`](super::TrainerConfig).
#[derive(Clone, Debug)]
pub(super) struct EarlyStopping {
    patience: usize,
    min_delta: f64,
    seen: Seen,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Seen {
    best: Option<Best>,
    /// Numbers in a row that were no better.
    bad: usize,
}

impl EarlyStopping {
    pub fn new(patience: usize, min_delta: f64) -> Self {
        Self { patience, min_delta, seen: Seen::default() }
    }

    fn flow(&self) -> Flow {
        if self.seen.bad < self.patience.max(1) {
            return Flow::Continue;
        }
        Flow::Stop(format!("{} validations in a row brought no progress", self.seen.bad))
    }
}

impl Callback for EarlyStopping {
    fn on(&mut self, event: &Event<'_>) -> Result<Flow> {
        match event {
            // A run that had stopped is not trained on, unless with more patience.
            Event::Start(_) => Ok(self.flow()),
            Event::Judged(judged) => {
                let best = self.seen.best.as_ref().map_or(judged.goal.worst(), |best| best.value);
                if judged.goal.is_better(judged.value, best, self.min_delta) {
                    let best = Best { value: judged.value, step: judged.step };
                    self.seen = Seen { best: Some(best), bad: 0 };
                } else {
                    self.seen.bad += 1;
                }
                Ok(self.flow())
            }
            _ => Ok(Flow::Continue),
        }
    }

    fn name(&self) -> &'static str {
        "early_stopping"
    }

    fn state(&self) -> String {
        serde_json::to_string(&self.seen).unwrap_or_default()
    }

    fn load_state(&mut self, state: &str) -> Result<()> {
        self.seen = serde_json::from_str(state)
            .map_err(|error| fit_error(format!("the state of early stopping: {error}")))?;
        Ok(())
    }
}
