//! The same model in every process, trained by the mean of their gradients.

use std::fmt::Write;

use kiln_autograd::{Backward, Gradients};
use kiln_nn::{Config, Module, Path, Visitor, VisitorMut};
use kiln_tensor::{AnyTensor, Error, Result, Tensor};

use super::bucket::{Flat, Moving, Plan, plan};
use super::group::{Pending, ProcessGroup};
use super::group_error;

/// The settings of [`DataParallel`].
#[derive(Config, Debug, PartialEq)]
pub struct DataParallelConfig {
    /// Megabytes of gradients that are reduced together: few large messages are faster than many
    /// small ones, but the first can start only when its gradients are there.
    #[config(default = 25.0)]
    pub bucket_megabytes: f64,
    /// Whether a parameter may have no gradient on some ranks, where it counts as zero, or on all,
    /// where it keeps none. Otherwise that is an error which names it.
    #[config(default = false)]
    pub find_unused: bool,
}

impl DataParallelConfig {
    /// See [`DataParallel::new`].
    pub fn init<M: Module>(&self, group: &ProcessGroup, model: &mut M) -> Result<DataParallel> {
        let bytes = self.bucket_megabytes * 1e6;
        if !(bytes.is_finite() && bytes >= 0.0) {
            let rule = format!("buckets of {} megabytes make no sense", self.bucket_megabytes);
            return Err(Error::Argument { op: "data parallel", rule });
        }
        check_same(group, model)?;
        broadcast(group, |visitor| model.visit_mut(&Path::ROOT, visitor))?;
        Ok(DataParallel {
            group: group.clone(),
            bucket_bytes: bytes as usize,
            find_unused: self.find_unused,
            spare: Vec::new(),
        })
    }
}

/// Averages gradients over all processes of a group:
/// `torch.nn.parallel.DistributedDataParallel`.
///
/// The gradients are copied into buckets in the order in which backward completes them, and a bucket
/// that is full is reduced on the thread of the group while backward goes on (Li et al. 2020,
/// "PyTorch Distributed: experiences on accelerating data parallel training"). The model stays what
/// it is; its paths get no prefix.
///
/// Buffers, such as the running statistics of batch normalisation, are each rank's own after the
/// start; [`DataParallel::sync_buffers`] makes them the same again.
#[derive(Debug)]
pub struct DataParallel {
    group: ProcessGroup,
    bucket_bytes: usize,
    find_unused: bool,
    /// The memory of the buckets of the last step.
    spare: Vec<Flat>,
}

impl DataParallel {
    /// Gives the parameters and buffers of rank 0 to all ranks. An error on all of them, which names
    /// the first difference, if their models differ in names, shapes, dtypes, or in what is trained.
    pub fn new<M: Module>(group: &ProcessGroup, model: &mut M) -> Result<Self> {
        DataParallelConfig::new().init(group, model)
    }

    /// The group.
    pub fn group(&self) -> &ProcessGroup {
        &self.group
    }

    /// The gradients of `loss`, averaged over all ranks: what `loss.backward()` gives where there is
    /// one process. Every rank calls it for each step. An error if a rank failed, if a parameter has
    /// no gradient (see [`DataParallelConfig::find_unused`]), or if ranks train different parameters.
    #[track_caller]
    pub fn backward<M: Module, const D: usize>(
        &mut self,
        model: &M,
        loss: &Tensor<D>,
    ) -> Result<Gradients> {
        self.backward_onto(model, loss, Gradients::default())
    }

    /// As [`DataParallel::backward`], with the gradients of earlier batches added before the mean is
    /// taken. Those are of plain `backward` calls, which send nothing: `no_sync` of PyTorch.
    ///
    /// ```
    /// # use kiln::dist::{DataParallel, TcpConfig};
    /// # use kiln::prelude::*;
    /// # let group = TcpConfig::new("", 0, 1).init()?;
    /// # let mut model = LinearConfig::new(2, 1).init(&Device::cpu());
    /// # let mut optim = SgdConfig::new(0.1).init();
    /// # let (a, b) = (Tensor::<2>::from([[1.0, 2.0]]), Tensor::<2>::from([[0.5, 1.0]]));
    /// let mut parallel = DataParallel::new(&group, &mut model)?;
    /// let earlier = model.forward(&a).sum().backward();
    /// let grads = parallel.backward_onto(&model, &model.forward(&b).sum(), earlier)?;
    /// assert_eq!(model.weight.grad(&grads).unwrap().into_data().to_vec::<f32>()?, [1.5, 3.0]);
    /// optim.step(&mut model, grads);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    #[track_caller]
    pub fn backward_onto<M: Module, const D: usize>(
        &mut self,
        model: &M,
        loss: &Tensor<D>,
        earlier: Gradients,
    ) -> Result<Gradients> {
        self.step(model, earlier, |params, ready| Backward::new().run_telling(loss, params, ready))
    }

    /// Averages gradients that are complete: for a backward pass of another kind.
    pub fn reduce<M: Module>(&mut self, model: &M, grads: Gradients) -> Result<Gradients> {
        self.step(model, grads, |_, _| Gradients::default())
    }

    /// Gives the buffers of rank 0 to all ranks: before a validation, for instance. PyTorch does so
    /// before each forward pass.
    pub fn sync_buffers<M: Module>(&self, model: &mut M) -> Result<()> {
        struct Buffers<'a>(&'a mut dyn VisitorMut);
        impl VisitorMut for Buffers<'_> {
            fn buffer(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
                self.0.tensor(path, tensor);
            }
        }
        broadcast(&self.group, |visitor| model.visit_mut(&Path::ROOT, &mut Buffers(visitor)))
    }

    /// Reduces what `pass` tells to be ready, added to what is there from earlier passes.
    #[track_caller]
    fn step<M: Module>(
        &mut self,
        model: &M,
        earlier: Gradients,
        pass: impl FnOnce(&[AnyTensor], &mut dyn FnMut(usize, &AnyTensor)) -> Gradients,
    ) -> Result<Gradients> {
        let params = model.named_params().into_iter();
        let trained = params.filter(|(_, param)| param.tracked().is_some());
        let (names, params): (Vec<String>, Vec<AnyTensor>) = trained.unzip();

        let plans = plan(&self.group, &params, self.bucket_bytes)?;
        let mut step = Step::new(&self.group, plans, &params, &mut self.spare);
        let mut failed = Ok(());
        let mut grads = pass(&params, &mut |index, gradient| {
            let gradient = match earlier.get(&params[index]) {
                Some(earlier) => earlier.add(gradient),
                None => gradient.clone(),
            };
            let result = step.put(index, gradient);
            failed = failed.clone().and(result);
        });
        failed?;
        for (index, param) in params.iter().enumerate() {
            if let (false, Some(gradient)) = (step.is_put[index], earlier.get(param)) {
                step.put(index, gradient.clone())?;
            }
        }
        grads.accumulate(earlier);

        let world = self.group.world_size();
        let Sent { counts, buckets } = step.finish()?;
        let mut unused = String::new();
        for (name, &count) in names.iter().zip(&counts) {
            if count < world as f64 {
                let _ = write!(unused, "\n  {name}: on {count} of {world} ranks");
            }
        }
        for (plan, moving) in buckets {
            plan.receive(moving, &params, world, &mut self.spare, |index, gradient| {
                if counts[index] > 0.0 {
                    grads.insert(&params[index], gradient);
                }
            })?;
        }
        if !self.find_unused && !unused.is_empty() {
            let rule = format!(
                "these parameters have no gradient everywhere:{unused}\nfreeze what is not used, or \
                 allow it by `DataParallelConfig::new().with_find_unused(true)`"
            );
            return Err(Error::Autograd { op: "data parallel", rule });
        }
        Ok(grads)
    }
}

/// The buckets of one step.
struct Step<'a> {
    group: &'a ProcessGroup,
    params: &'a [AnyTensor],
    spare: &'a mut Vec<Flat>,
    buckets: Vec<Bucket>,
    /// The bucket of each parameter, and which member of it.
    places: Vec<(usize, usize)>,
    is_put: Vec<bool>,
    /// The buckets on their way. All ranks send them in the same order, whatever the order in which
    /// they are filled.
    sent: Vec<Moving>,
    /// That all ranks are at such a step, before the first values leave a GPU.
    agreed: Option<Pending<()>>,
}

/// A step of which all is on its way.
struct Sent {
    /// How many ranks have a gradient of each parameter.
    counts: Vec<f64>,
    buckets: Vec<(Plan, Moving)>,
}

struct Bucket {
    plan: Plan,
    /// Of each member; all are there when it is full.
    gradients: Vec<Option<AnyTensor>>,
    missing: usize,
}

impl<'a> Step<'a> {
    fn new(
        group: &'a ProcessGroup,
        plans: Vec<Plan>,
        params: &'a [AnyTensor],
        spare: &'a mut Vec<Flat>,
    ) -> Self {
        let mut places = vec![(0, 0); params.len()];
        let mut on_gpu = String::new();
        for (bucket, plan) in plans.iter().enumerate() {
            for (member, &(index, _)) in plan.members.iter().enumerate() {
                places[index] = (bucket, member);
            }
            if plan.communicator.is_some() {
                let _ = write!(on_gpu, " {} {}", plan.len, plan.dtype);
            }
        }
        let agreed = (!on_gpu.is_empty())
            .then(|| group.agree(format!("a step of data parallelism with buckets of{on_gpu}")));
        let buckets = plans.into_iter().map(|plan| {
            let missing = plan.members.len();
            Bucket { plan, gradients: vec![None; missing], missing }
        });
        let (buckets, is_put) = (buckets.collect(), vec![false; params.len()]);
        Self { group, params, spare, buckets, places, is_put, sent: Vec::new(), agreed }
    }

    /// Puts a gradient into its bucket, and sends what is full.
    fn put(&mut self, index: usize, gradient: AnyTensor) -> Result<()> {
        let (bucket, member) = self.places[index];
        let Bucket { gradients, missing, .. } = &mut self.buckets[bucket];
        // It may come a second time, after it was sent.
        if !std::mem::replace(&mut self.is_put[index], true) {
            gradients[member] = Some(gradient);
            *missing -= 1;
        }
        while self.buckets.get(self.sent.len()).is_some_and(|bucket| bucket.missing == 0) {
            self.send()?;
        }
        Ok(())
    }

    /// Sends the next bucket on its way.
    fn send(&mut self) -> Result<()> {
        let Bucket { plan, gradients, .. } = &mut self.buckets[self.sent.len()];
        if plan.communicator.is_some()
            && let Some(agreed) = self.agreed.take()
        {
            agreed.wait()?;
        }
        let gradients = std::mem::take(gradients);
        self.sent.push(plan.send(self.group, &gradients, self.params, self.spare)?);
        Ok(())
    }

    /// Sends the other buckets, with zeros for what is missing.
    fn finish(mut self) -> Result<Sent> {
        while self.sent.len() < self.buckets.len() {
            self.send()?;
        }
        let counts = self.is_put.iter().map(|&put| put as u8 as f64).collect();
        let counts = self.group.begin_sum(counts);
        let plans = std::mem::take(&mut self.buckets).into_iter().map(|bucket| bucket.plan);
        let buckets = plans.zip(std::mem::take(&mut self.sent)).collect();
        drop(self);
        Ok(Sent { counts: counts.wait()?, buckets })
    }
}

impl Drop for Step<'_> {
    /// Whatever happened, what is under way between GPUs does not stay so for ever.
    fn drop(&mut self) {
        self.group.guard();
    }
}

/// An error on all ranks if the models of some differ from that of rank 0.
fn check_same(group: &ProcessGroup, model: &impl Module) -> Result<()> {
    #[derive(Default)]
    struct List(String);
    impl Visitor for List {
        fn tensor(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
            let trained = if tensor.tracked().is_some() { "trained" } else { "not trained" };
            let (shape, dtype) = (tensor.shape(), tensor.dtype());
            let _ = writeln!(self.0, "{path} {shape} {dtype}, {trained}");
        }
    }
    let mut list = List::default();
    model.visit(&Path::ROOT, &mut list);
    let lists = group.all_gather_bytes(list.0.as_bytes())?;
    let lists: Vec<_> = lists.iter().map(|list| String::from_utf8_lossy(list)).collect();
    for (rank, list) in lists.iter().enumerate() {
        if *list == lists[0] {
            continue;
        }
        let (mut first, mut other) = (lists[0].lines(), list.lines());
        let difference = std::iter::from_fn(|| match (first.next(), other.next()) {
            (None, None) => None,
            pair => Some(pair),
        });
        let (first, other) = difference.into_iter().find(|(a, b)| a != b).unwrap_or_default();
        let [first, other] = [first, other].map(|line| line.unwrap_or("nothing more"));
        let what =
            format!("the models differ: rank 0 has `{first}` where rank {rank} has `{other}`");
        return Err(group_error("data parallel", what));
    }
    Ok(())
}

/// Gives what `visit` shows on rank 0 to all ranks.
fn broadcast(group: &ProcessGroup, visit: impl FnOnce(&mut dyn VisitorMut)) -> Result<()> {
    struct Take<'a>(&'a ProcessGroup, Result<()>);
    impl VisitorMut for Take<'_> {
        fn tensor(&mut self, _: &Path<'_>, tensor: &mut AnyTensor) {
            if self.1.is_err() {
                return;
            }
            match self.0.broadcast_any(tensor, 0) {
                Ok(values) => *tensor = values.with_tracked(tensor.tracked().cloned()),
                Err(error) => self.1 = Err(error),
            }
        }
    }
    let mut take = Take(group, Ok(()));
    visit(&mut take);
    take.1
}
