//! An LSTM whose state `h` is projected to fewer features (Sak et al. 2014), step by step.

use kiln_tensor::{AnyTensor, Int, Outputs, Tensor, activation, module};

use super::Weights;

impl Weights {
    /// As [`Weights::run`], with `h` `[batch, proj]`. Results: `h` of all steps `[time, batch, proj]`,
    /// and the last `h` and `c`.
    #[track_caller]
    pub(super) fn run_projected(
        &self,
        projection: &AnyTensor,
        reverse: bool,
        gates: &AnyTensor,
        states: &[AnyTensor],
        lengths: Option<&AnyTensor>,
    ) -> Outputs {
        let gates = Tensor::<3>::from_any(gates.clone()); // [time, batch, 4 hidden]
        let [time, batch, wide] = gates.dims();
        let [mut h, mut c] = [0, 1].map(|i| Tensor::<2>::from_any(states[i].clone()));
        let lengths = lengths.map(|lengths| Tensor::<1, Int>::from_any(lengths.clone()));
        let mut steps = vec![h.clone(); time];
        for step in 0..time {
            let t = if reverse { time - 1 - step } else { step };
            let recurrent = module::linear_any(h.as_any(), self.weight_hh.as_any(), None, None);
            let sum = gates.narrow(0, t, 1).reshape([batch, wide]) + Tensor::from_any(recurrent);
            let part = |i: usize| sum.narrow(1, i * (wide / 4), wide / 4);
            let gate = |i: usize| activation::sigmoid(part(i));
            let new_c = gate(1) * &c + gate(0) * part(2).tanh();
            let out = gate(3) * new_c.tanh();
            let new_h = module::linear_any(out.as_any(), projection, None, None);
            let new_h = Tensor::<2>::from_any(new_h);
            steps[t] = match &lengths {
                None => {
                    (h, c) = (new_h.clone(), new_c);
                    new_h
                }
                // Beyond the end of a row its output is zero and its state stays.
                Some(lengths) => {
                    let ended = lengths.lower_equal_elem(t as i64).reshape([batch, 1]);
                    let y = new_h.mask_fill(ended.expand(new_h.dims()), 0.0);
                    h = new_h.mask_where(ended.expand(new_h.dims()), &h);
                    c = new_c.mask_where(ended.expand(new_c.dims()), &c);
                    y
                }
            };
        }
        let y: Tensor<3> = match time {
            0 => h.unsqueeze_dim::<3>(0).narrow(0, 0, 0),
            _ => Tensor::stack(steps, 0),
        };
        [y.into_any(), h.into_any(), c.into_any()].into_iter().collect()
    }
}
