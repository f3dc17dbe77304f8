//! What an optimizer remembers of each parameter.

use kiln_nn::{LoadReport, Module, Path, StateDict, Visitor};
use kiln_tensor::op::{Meta, Update};
use kiln_tensor::{AnyTensor, DType, Error, OrFail, Result, TensorData, update};
use smallvec::SmallVec;

use crate::optimizer::Algorithm;

/// The state of every parameter, in the order in which the model declares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    slots: Vec<Slot>,
}

/// The state of one parameter.
#[derive(Clone, Debug)]
pub struct Slot {
    path: String,
    pub(crate) group: usize,
    /// The number of the running step, from 1.
    pub step: u64,
    names: &'static [&'static str],
    /// The state tensors that [`Algorithm::states`] names.
    pub tensors: SmallVec<[AnyTensor; 2]>,
}

impl Slot {
    pub(crate) fn new(
        path: &Path<'_>,
        group: usize,
        algorithm: &impl Algorithm,
        param: &AnyTensor,
    ) -> Self {
        let param = param.detach();
        let names = algorithm.states(&param);
        let tensors = names.iter().map(|name| algorithm.start(name, &param)).collect();
        Self { path: path.to_string(), group, step: 0, names, tensors }
    }

    /// Zeros of the parameter's shape; f32 for half types.
    pub fn zeros(param: &AnyTensor) -> AnyTensor {
        Self::full(param, 0.0)
    }

    /// This number in the parameter's shape; f32 for half types.
    pub fn full(param: &AnyTensor, value: f64) -> AnyTensor {
        let dtype = match param.dtype() {
            DType::F16 | DType::BF16 => DType::F32,
            dtype => dtype,
        };
        AnyTensor::full(Meta::new(param.shape(), dtype), value, param.device())
    }

    /// Runs an update of one pass on the parameter and the state tensors.
    #[inline]
    pub fn update(&mut self, op: Update, param: &mut AnyTensor, grad: &AnyTensor) -> Result<()> {
        update(&op.into(), grad, &mut self.targets(&op, param))
    }

    /// What the update changes.
    #[inline]
    pub(crate) fn targets<'a>(
        &'a mut self,
        op: &Update,
        param: &'a mut AnyTensor,
    ) -> SmallVec<[&'a mut AnyTensor; 5]> {
        std::iter::once(param).chain(self.tensors.iter_mut().take(op.states())).collect()
    }

    fn entry(&self, name: &str) -> String {
        if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path) }
    }
}

impl State {
    /// The number of the slot of the parameter at `path`, made by `new` if there is none. A model is
    /// visited in the same order every time, so it is nearly always the `next` one.
    pub fn slot(&mut self, next: usize, path: &Path<'_>, new: impl FnOnce() -> Slot) -> usize {
        if self.slots.get(next).is_some_and(|slot| path.is(&slot.path)) {
            return next;
        }
        if let Some(found) = self.slots.iter().position(|slot| path.is(&slot.path)) {
            return found;
        }
        self.slots.push(new());
        self.slots.len() - 1
    }

    pub fn at(&mut self, index: usize) -> &mut Slot {
        &mut self.slots[index]
    }

    /// Everything by name.
    #[track_caller]
    pub fn save(&self, lr: f64) -> StateDict {
        let mut state = StateDict::default();
        state.insert("lr", TensorData::new(vec![lr], [1]));
        for slot in &self.slots {
            state.insert(slot.entry("step"), TensorData::new(vec![slot.step as i64], [1]));
            for (name, tensor) in slot.names.iter().zip(&slot.tensors) {
                state.insert(slot.entry(name), tensor.to_data().or_fail());
            }
        }
        state
    }

    /// What [`State::save`] gave, for the parameters of `model`, whose slots start as `new` makes
    /// them; and the learning rate.
    pub fn load(
        model: &impl Module,
        state: &StateDict,
        new: impl Fn(&Path<'_>, &AnyTensor) -> Slot,
    ) -> Result<(Self, f64)> {
        let mut load = Load { state, new, slots: Vec::new(), report: LoadReport::default() };
        let lr = number(state, "lr", &mut load.report);
        model.visit(&Path::ROOT, &mut load);
        let Load { slots, mut report, .. } = load;
        let known = |path: &str| {
            report.loaded.iter().any(|known| known == path)
                || report.misshapen.iter().any(|(known, ..)| known == path)
        };
        let unexpected = state.iter().map(|(path, _)| path).filter(|path| !known(path));
        report.unexpected = unexpected.map(String::from).collect();
        if !report.is_complete() {
            let rule = format!("it does not fit the model and the optimizer: {report}");
            return Err(Error::Argument { op: "optimizer state", rule });
        }
        crate::check::not_negative("optimizer state", [("lr", lr)])?;
        Ok((Self { slots }, lr))
    }
}

/// The entry of one number; what is wrong with it goes to the report.
pub(crate) fn number(state: &StateDict, path: &str, report: &mut LoadReport) -> f64 {
    match state.get(path) {
        None => report.missing.push(path.into()),
        Some(data) if data.num_elements() != 1 => {
            report.misshapen.push((path.into(), [1].into(), data.shape()));
        }
        Some(data) => {
            report.loaded.push(path.into());
            return data.iter::<f64>().next().unwrap_or(f64::NAN);
        }
    }
    0.0
}

struct Load<'a, F> {
    state: &'a StateDict,
    new: F,
    slots: Vec<Slot>,
    report: LoadReport,
}

impl<F: Fn(&Path<'_>, &AnyTensor) -> Slot> Visitor for Load<'_, F> {
    fn param(&mut self, path: &Path<'_>, param: &AnyTensor) {
        let mut slot = (self.new)(path, param);
        let entries: Vec<String> = slot.names.iter().map(|name| slot.entry(name)).collect();
        let step = slot.entry("step");
        if entries.iter().chain([&step]).all(|entry| self.state.get(entry).is_none()) {
            return;
        }
        let steps = number(self.state, &step, &mut self.report);
        // What is no count makes the report incomplete.
        if steps < 0.0 || steps.fract() != 0.0 || !steps.is_finite() {
            self.report.missing.push(format!("{step} (found {steps})"));
        }
        slot.step = steps as u64;
        for (entry, tensor) in entries.into_iter().zip(&mut slot.tensors) {
            let Some(data) = self.state.get(&entry) else {
                self.report.missing.push(entry);
                continue;
            };
            if data.shape() != tensor.shape() {
                self.report.misshapen.push((entry, tensor.shape(), data.shape()));
                continue;
            }
            let data = data.convert_dtype(tensor.dtype());
            *tensor = AnyTensor::from_data(&data, &tensor.device()).or_fail();
            self.report.loaded.push(entry);
        }
        self.slots.push(slot);
    }
}
