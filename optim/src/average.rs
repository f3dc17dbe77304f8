//! Averages of the weights of a model in the course of its training.

use kiln_nn::{Module, Path, StateDict, Visitor, VisitorMut};
use kiln_tensor::op::Update;
use kiln_tensor::{AnyTensor, Error, OrFail, Result, TensorData, fail, update};

use crate::Slot;

/// The tensors of a model by path.
#[derive(Clone, Debug, Default)]
struct Weights {
    entries: Vec<Entry>,
    /// How many models were taken in.
    count: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    path: String,
    tensor: AnyTensor,
    param: bool,
}

impl Visitor for Weights {
    fn param(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
        // Averages move by less than half types can resolve.
        let tensor = tensor.detach().cast(Slot::zeros(&tensor.detach()).dtype());
        self.entries.push(Entry { path: path.to_string(), tensor, param: true });
    }
    fn buffer(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
        self.entries.push(Entry { path: path.to_string(), tensor: tensor.detach(), param: false });
    }
}

impl Weights {
    fn new(model: &impl Module) -> Self {
        let mut weights = Self::default();
        model.visit(&Path::ROOT, &mut weights);
        weights
    }

    /// Moves the parameters by `share` of the way to those of `model`, and the buffers too if
    /// `average_buffers`; else these are copied.
    #[track_caller]
    fn update(&mut self, model: &impl Module, share: f64, average_buffers: bool) {
        let current = Self::new(model);
        if current.entries.len() != self.entries.len() {
            let (ours, theirs) = (self.entries.len(), current.entries.len());
            let rule = format!("the model has {theirs} tensors, the average {ours}");
            fail(Error::Argument { op: "average", rule });
        }
        let op = Update::average(share).into();
        for (average, new) in self.entries.iter_mut().zip(current.entries) {
            if average.path != new.path || average.tensor.meta() != new.tensor.meta() {
                let rule = format!("{} of the model is not {}", new.path, average.path);
                fail(Error::Argument { op: "average", rule });
            }
            let averaged = new.param || average_buffers && new.tensor.dtype().is_float();
            if averaged && self.count > 0 {
                update(&op, &new.tensor, &mut [&mut average.tensor]).or_fail();
            } else {
                average.tensor = new.tensor;
            }
        }
        self.count += 1;
    }

    /// Exchanges values with `model`; both keep their dtypes.
    #[track_caller]
    fn swap(&mut self, model: &mut impl Module) {
        struct Swap<'a>(std::slice::IterMut<'a, Entry>);
        impl VisitorMut for Swap<'_> {
            fn tensor(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
                let entry = self
                    .0
                    .next()
                    .filter(|entry| path.is(&entry.path) && entry.tensor.shape() == tensor.shape());
                let Some(entry) = entry else {
                    let rule = format!("{path} of the model is not in the average");
                    fail(Error::Argument { op: "average", rule })
                };
                let new = entry.tensor.cast(tensor.dtype());
                entry.tensor = tensor.detach().cast(entry.tensor.dtype());
                *tensor = new.with_tracked(tensor.tracked().cloned());
            }
        }
        model.visit_mut(&Path::ROOT, &mut Swap(self.entries.iter_mut()));
    }

    fn state_dict(&self) -> StateDict {
        let mut state = StateDict::default();
        state.insert("n_averaged", TensorData::new(vec![self.count as i64], [1]));
        for Entry { path, tensor, .. } in &self.entries {
            state.insert(format!("module.{path}"), tensor.to_data().or_fail());
        }
        state
    }

    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let error = |what: String| Error::Argument { op: "average", rule: what };
        let mut loaded = self.clone();
        for Entry { path, tensor, .. } in &mut loaded.entries {
            let name = format!("module.{path}");
            let data = state.get(&name).ok_or_else(|| error(format!("missing {name}")))?;
            if data.shape() != tensor.shape() {
                let (ours, theirs) = (tensor.shape(), data.shape());
                return Err(error(format!("{name} is {ours} but {theirs} in the file")));
            }
            *tensor = AnyTensor::from_data(&data.convert_dtype(tensor.dtype()), &tensor.device())?;
        }
        if state.len() != self.entries.len() + 1 {
            return Err(error(format!("{} entries, not {}", state.len(), self.entries.len() + 1)));
        }
        let count = state.get("n_averaged").and_then(|data| data.iter::<i64>().next());
        let count = count.and_then(|count| u64::try_from(count).ok());
        loaded.count = count.ok_or_else(|| error("missing n_averaged".into()))?;
        *self = loaded;
        Ok(())
    }
}

/// The exponential moving average of a model's parameters, which often scores better than the model
/// itself: `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn`. Averages of half types
/// are kept in f32.
///
/// ```
/// use kiln_nn::{LinearConfig, Module};
/// use kiln_optim::Ema;
/// use kiln_tensor::Device;
/// let mut model = LinearConfig::new(2, 2).init(&Device::cpu());
/// let mut ema = Ema::new(&model, 0.999);
/// ema.update(&model); // after each step
/// ema.swap(&mut model); // evaluate the average,
/// ema.swap(&mut model); // and train on
/// ```
#[derive(Clone, Debug)]
pub struct Ema {
    decay: f64,
    warm_up: bool,
    average_buffers: bool,
    weights: Weights,
}

impl Ema {
    /// Starts with the values of `model`. Panics if `decay`, the share of the average that each
    /// update keeps, is not in `0..=1`.
    #[track_caller]
    pub fn new(model: &impl Module, decay: f64) -> Self {
        let holds = (0.0..=1.0).contains(&decay);
        crate::check::rule("ema", holds, || format!("decay must be in 0..=1, found {decay}"))
            .or_fail();
        let weights = Weights::new(model);
        Self { decay, warm_up: false, average_buffers: false, weights }
    }

    /// Whether the decay of update `n` is at most `(1 + n) / (10 + n)`, so that the first values
    /// are soon forgotten.
    pub fn with_warm_up(mut self, warm_up: bool) -> Self {
        self.warm_up = warm_up;
        self
    }

    /// Whether buffers, such as running means, are averaged too; else the last ones are copied.
    pub fn with_average_buffers(mut self, average_buffers: bool) -> Self {
        self.average_buffers = average_buffers;
        self
    }

    /// Takes in the current values of `model`; the first time, as they are. Panics if it has other
    /// tensors than the model of [`Ema::new`].
    #[track_caller]
    pub fn update(&mut self, model: &impl Module) {
        let n = self.weights.count as f64;
        let young = if self.warm_up { (1.0 + n) / (10.0 + n) } else { 1.0 };
        self.weights.update(model, 1.0 - self.decay.min(young), self.average_buffers);
    }

    /// Gives `model` the averages.
    #[track_caller]
    pub fn apply_to(&self, model: &mut impl Module) {
        self.weights.clone().swap(model);
    }

    /// Exchanges the averages and the values of `model`; a second time gives both back. (Values of
    /// half types come back rounded once.)
    #[track_caller]
    pub fn swap(&mut self, model: &mut impl Module) {
        self.weights.swap(model);
    }

    /// The averages under `module.path`, and `n_averaged`, as PyTorch names them.
    pub fn state_dict(&self) -> StateDict {
        self.weights.state_dict()
    }

    /// Takes back what [`Ema::state_dict`] gave. An error, and unchanged averages, if anything is
    /// missing or of another shape.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        self.weights.load_state_dict(state)
    }
}

/// The mean of the parameters of a model at several times of its training (Izmailov et al. 2018):
/// `torch.optim.swa_utils.AveragedModel`. Running means of batch normalisation do not belong to the
/// mean: [`update_bn`](crate::update_bn) computes them before the mean is used.
#[derive(Clone, Debug)]
pub struct Swa {
    weights: Weights,
}

impl Swa {
    /// The mean of nothing yet, for models like this one.
    pub fn new(model: &impl Module) -> Self {
        Self { weights: Weights::new(model) }
    }

    /// Takes in the current values of `model`; buffers are copied. Panics if it has other tensors
    /// than the model of [`Swa::new`].
    #[track_caller]
    pub fn update(&mut self, model: &impl Module) {
        let share = 1.0 / (self.weights.count as f64 + 1.0);
        self.weights.update(model, share, false);
    }

    /// Gives `model` the means.
    #[track_caller]
    pub fn apply_to(&self, model: &mut impl Module) {
        self.weights.clone().swap(model);
    }

    /// Exchanges the means and the values of `model`; a second time gives both back.
    #[track_caller]
    pub fn swap(&mut self, model: &mut impl Module) {
        self.weights.swap(model);
    }

    /// The means under `module.path`, and `n_averaged`, as PyTorch names them.
    pub fn state_dict(&self) -> StateDict {
        self.weights.state_dict()
    }

    /// Takes back what [`Swa::state_dict`] gave. An error, and unchanged means, if anything is
    /// missing or of another shape.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        self.weights.load_state_dict(state)
    }
}
