//! The network.

use kiln::prelude::*;

/// An LSTM that reads a series value by value, and says after each what comes next.
#[derive(Module, Clone, Debug)]
pub struct Forecaster {
    lstm: Lstm,
    fc: Linear,
}

impl Forecaster {
    pub fn new(hidden: usize, device: &Device) -> Self {
        Self {
            lstm: LstmConfig::new(1, hidden, true).init(device),
            fc: LinearConfig::new(hidden, 1).init(device),
        }
    }

    /// Values `[n, t, 1]` to the values that follow each of them, `[n, t, 1]`.
    pub fn forward(&self, x: &Tensor<3>) -> Tensor<3> {
        self.forward_next(x, None).0
    }

    /// The same after what `state` has seen, with what has been seen then. The network only has to
    /// find by how much a value changes.
    fn forward_next(&self, x: &Tensor<3>, state: Option<LstmState>) -> (Tensor<3>, LstmState) {
        let (h, state) = self.lstm.forward(x, state); // [n, t, hidden]
        (x + self.fc.forward(&h), state)
    }

    /// The next `count` values of series whose values so far are `known` `[n, t, 1]`: each forecast
    /// is read as if it were the truth. `[n, count, 1]`
    pub fn forecast(&self, known: &Tensor<3>, count: usize) -> Tensor<3> {
        no_grad(|| {
            let (next, mut state) = self.forward_next(known, None);
            let mut last = next.narrow(1, known.dims()[1] - 1, 1); // [n, 1, 1]
            let mut forecast = vec![last.clone()];
            while forecast.len() < count {
                (last, state) = self.forward_next(&last, Some(state));
                forecast.push(last.clone());
            }
            Tensor::cat(forecast, 1)
        })
    }
}
