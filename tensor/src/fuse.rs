//! Elementwise functions in one pass over memory.
//!
//! Inside of [`fuse`] nothing is computed: each elementwise operation is noted as a link of a
//! chain, and its result is a tensor without values. In the end the chain is applied to what it
//! reads, as one operation.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

use crate::apply::{Outputs, apply};
use crate::backend::Backend;
use crate::error::OrFail;
use crate::layout::Layout;
use crate::op::{Arg, Chain, Fused, Link, Meta, Op, View};
use crate::watch::Watcher;
use crate::{AnyTensor, Device, Error, Kind, Result, Shape, Tensor};

/// Computes what `compute` says in one pass over memory, if it consists of elementwise operations:
/// arithmetic, functions, comparisons, `mask_where`, casts, and activations with their gradients.
///
/// One after the other, each of them would write its result to memory for the next to read. Fused,
/// they go over blocks that stay in the first-level cache; the bits are the same. The gradient is
/// a fused operation too, of any order, and keeps nothing but what is read here. Worth it from some
/// ten thousand elements. What `torch.compile` does with a chain of elementwise operations.
///
/// Inputs may be views and broadcast. Anything else than elementwise operations on the way is an
/// error, as is reading a value: compute it before or after. So is cutting a tensor off from the
/// tape there, as one gradient is computed for all of it.
///
/// ```
/// use kiln_tensor::{Tensor, activation, fuse};
/// let (x, gate) = (Tensor::<1>::from([1.0, -2.0, 3.0]), Tensor::<1>::from([0.0, 1.0, 2.0]));
/// let y = fuse(|| (&x * 2.0 + 1.0) * activation::sigmoid(&gate));
/// assert_eq!(y.into_data(), ((&x * 2.0 + 1.0) * activation::sigmoid(&gate)).into_data());
/// ```
#[track_caller]
pub fn fuse<const D: usize, K: Kind>(compute: impl FnOnce() -> Tensor<D, K>) -> Tensor<D, K> {
    if RECORDING.get() {
        return compute();
    }
    let (result, chain) = record(&[], |_| compute().into_any());
    let mut result = chain.apply(&[], &[Some(result)], true).or_fail();
    Tensor::from_any(result.swap_remove(0).expect("it was asked for"))
}

/// As [`fuse`], for a function of `inputs` with several results: gradient rules are made of it.
/// `compute` gets stand-ins, which are not tracked, and answers for what follows the results: they
/// are tracked if the inputs are.
///
/// ```
/// use kiln_tensor::{Tensor, fuse_all};
/// let (a, b) = (Tensor::<1>::from([6.0, 8.0]), Tensor::<1>::from([3.0, 2.0]));
/// let results = fuse_all(&[a.as_any(), b.as_any()], |inputs| {
///     let (a, b) = (&inputs[0], &inputs[1]);
///     Ok(vec![Some(a.mul(b)), None, Some(a.div(b).square())])
/// })?;
/// assert_eq!(results[0].as_ref().unwrap().to_vec::<f32>()?, [18.0, 16.0]);
/// assert_eq!(results[2].as_ref().unwrap().to_vec::<f32>()?, [4.0, 16.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
pub fn fuse_all(
    inputs: &[&AnyTensor],
    compute: impl FnOnce(&[AnyTensor]) -> Result<Vec<Option<AnyTensor>>>,
) -> Result<Vec<Option<AnyTensor>>> {
    let (results, chain) = record(inputs, compute);
    chain.apply(inputs, &results?, false)
}

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(false) };
    static RECORDER: RefCell<Recorder> = RefCell::default();
}

/// The chain as it grows.
#[derive(Default)]
struct Recorder {
    /// What is read.
    inputs: Vec<AnyTensor>,
    links: Vec<Link>,
    /// What the tape calls the result of each link.
    keys: Vec<Option<(u64, u32)>>,
    /// The tensors without values, by their address.
    values: HashMap<usize, (Arg, Shape)>,
    /// Whether the tape lost sight of a value between two links.
    cut: bool,
}

fn key(x: &AnyTensor) -> Option<(u64, u32)> {
    x.tracked().map(|tracked| tracked.key())
}

/// Runs `compute` on stand-ins for `inputs` and notes what it does.
fn record<T>(inputs: &[&AnyTensor], compute: impl FnOnce(&[AnyTensor]) -> T) -> (T, Recorder) {
    /// Puts back what was there, also when `compute` panics.
    struct Restore(bool, Option<Recorder>);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECORDING.set(self.0);
            RECORDER.set(self.1.take().unwrap_or_default());
        }
    }
    let mut recorder = Recorder::default();
    let stand_in = |(i, input): (usize, &&AnyTensor)| {
        let value = AnyTensor::uninitialized(input.meta(), *DEVICE).or_fail();
        recorder.inputs.push((*input).clone());
        recorder.values.insert(value.buffer().address(), (Arg::Input(i), value.shape()));
        value
    };
    let stand_ins: Vec<AnyTensor> = inputs.iter().enumerate().map(stand_in).collect();
    let _watcher = Watcher::new();
    let restore = Restore(RECORDING.replace(true), Some(RECORDER.replace(recorder)));
    let result = compute(&stand_ins);
    let recorder = RECORDER.take();
    drop(restore);
    (result, recorder)
}

/// Whether this thread notes operations instead of running them.
pub(crate) fn recording() -> bool {
    RECORDING.get()
}

/// Notes an operation, if it can be a link.
pub(crate) fn link(op: &Op, inputs: &[&AnyTensor]) -> Result<Option<Outputs>> {
    // All tensors without elements have one address, and cost nothing to compute.
    let empty = inputs.iter().any(|input| input.num_elements() == 0);
    if empty || !Chain::allows(op) {
        let ready = inputs.iter().all(|input| input.device() != *DEVICE);
        return if ready { Ok(None) } else { Err(refused(op)) };
    }
    let metas: SmallVec<[Meta; 3]> = inputs.iter().map(|input| input.meta()).collect();
    let output = AnyTensor::uninitialized(op.spec().infer(&metas)?[0], *DEVICE)?;
    RECORDER.with_borrow_mut(|recorder| recorder.link(op, inputs, &output))?;
    Ok(Some(Outputs::from_buf([output])))
}

/// Tells the chain what the tape did with the result of its newest link.
pub(crate) fn follow(output: &AnyTensor) {
    RECORDER.with_borrow_mut(|recorder| recorder.follow(output));
}

fn refused(op: &Op) -> Error {
    let rule = "is not elementwise, but its input is not computed yet inside of `fuse`; \
                compute it before or after";
    Error::Argument { op: op.spec().name(), rule: rule.into() }
}

fn wrong(rule: &str) -> Error {
    Error::Argument { op: "fuse", rule: rule.into() }
}

impl Recorder {
    fn link(&mut self, op: &Op, inputs: &[&AnyTensor], output: &AnyTensor) -> Result<()> {
        let args = inputs.iter().map(|input| self.arg(input)).collect::<Result<_>>()?;
        let arg = Arg::Link(self.links.len());
        self.values.insert(output.buffer().address(), (arg, output.shape()));
        self.links.push(Link { op: op.clone(), args });
        self.keys.push(None);
        Ok(())
    }

    fn follow(&mut self, output: &AnyTensor) {
        let tracked = |arg: &Arg| match *arg {
            Arg::Input(i) => self.inputs[i].tracked().is_some(),
            Arg::Link(i) => self.keys[i].is_some(),
        };
        let last = self.links.len() - 1;
        let reads_tracked = self.links[last].args.iter().any(tracked);
        let key = key(output);
        self.cut |= reads_tracked && key.is_none() && output.dtype().is_differentiable();
        self.keys[last] = key;
    }

    /// What a tensor is in the chain; one with values becomes an input.
    fn arg(&mut self, x: &AnyTensor) -> Result<Arg> {
        if x.device() == *DEVICE {
            return self.value(x);
        }
        let same = |y: &AnyTensor| {
            x.buffer().address() == y.buffer().address()
                && x.layout() == y.layout()
                && x.dtype() == y.dtype()
                && key(x) == key(y)
        };
        let place = self.inputs.iter().position(same).unwrap_or_else(|| {
            self.inputs.push(x.clone());
            self.inputs.len() - 1
        });
        Ok(Arg::Input(place))
    }

    /// What a tensor without values is; it may be broadcast, but not otherwise changed in shape.
    fn value(&mut self, x: &AnyTensor) -> Result<Arg> {
        let Some(&(arg, shape)) = self.values.get(&x.buffer().address()) else {
            return Err(wrong("a tensor of another `fuse` has no values"));
        };
        let broadcast = Layout::contiguous(shape).expand(x.shape_ref());
        if !broadcast.is_some_and(|layout| layout.reaches_as(x.layout())) {
            let rule =
                "a result on the way was reshaped, permuted or sliced; do so before or after";
            return Err(wrong(rule));
        }
        let known = match arg {
            Arg::Input(_) => None,
            Arg::Link(i) => self.keys[i],
        };
        self.cut |= key(x) != known;
        Ok(arg)
    }

    /// Applies the chain to what it reads, of which the first few are `given`. `strict`: the tape
    /// must follow the result as it followed the links one by one.
    fn apply(
        mut self,
        given: &[&AnyTensor],
        results: &[Option<AnyTensor>],
        strict: bool,
    ) -> Result<Vec<Option<AnyTensor>>> {
        let mut wanted: Vec<usize> = Vec::new();
        let (mut shape, mut followed) = (None, false);
        // For each result without values, its place among what is wanted, or the input that it is.
        let mut places = Vec::with_capacity(results.len());
        for result in results {
            let Some(result) = result.as_ref().filter(|x| x.device() == *DEVICE) else {
                places.push(None);
                continue;
            };
            let arg = self.value(result)?;
            followed |= result.tracked().is_some();
            if let Arg::Link(link) = arg {
                if shape.replace(result.shape()).is_some_and(|shape| shape != result.shape()) {
                    return Err(wrong("the results have different shapes"));
                }
                let known = wanted.iter().position(|&other| other == link);
                places.push(Some(Arg::Link(known.unwrap_or(wanted.len()))));
                if known.is_none() {
                    wanted.push(link);
                }
            } else {
                places.push(Some(arg));
            }
        }
        let outputs = match shape {
            Some(_) if strict && followed && self.cut => {
                let rule = "`detach`, `no_grad` and hooks of tensors belong before or after it, \
                            as one gradient is computed for all of it";
                return Err(wrong(rule));
            }
            Some(shape) => self.run(&wanted, shape, followed || !strict)?,
            None => Outputs::new(),
        };
        let place = |(result, place): (&Option<AnyTensor>, Option<Arg>)| match place {
            None => result.clone(),
            Some(Arg::Input(i)) => Some(given[i].clone()),
            Some(Arg::Link(i)) => Some(outputs[i].clone()),
        };
        Ok(results.iter().zip(places).map(place).collect())
    }

    /// The results of the links `wanted`, all of `shape`. If they are `followed`, they are tracked
    /// as the inputs are.
    fn run(mut self, wanted: &[usize], shape: Shape, followed: bool) -> Result<Outputs> {
        let (links, read) = self.needed(wanted);
        let mut inputs = SmallVec::<[AnyTensor; 6]>::new();
        // A chain of constants still needs a device.
        for &i in if read.is_empty() { &[0][..] } else { &read } {
            let input = &self.inputs[i];
            let input = if followed { input.clone() } else { input.detach() };
            let whole = input.shape() == shape;
            inputs.push(if whole { input } else { input.apply(View::Expand(shape), &[]) });
        }
        let refs: SmallVec<[&AnyTensor; 6]> = inputs.iter().collect();
        let renumbered = |arg: &Arg| match *arg {
            Arg::Input(i) => Arg::Input(read.binary_search(&i).expect("it is read")),
            Arg::Link(i) => Arg::Link(links.binary_search(&i).expect("it is needed")),
        };
        let outputs =
            wanted.iter().map(|i| links.binary_search(i).expect("it is needed")).collect();
        for link in &mut self.links {
            if let Op::Fill(fill) = &mut link.op {
                fill.meta.shape = shape;
            }
        }
        let renumbered = |&i: &usize| {
            let Link { op, args } = &self.links[i];
            Link { op: op.clone(), args: args.iter().map(renumbered).collect() }
        };
        let links: Vec<Link> = links.iter().map(renumbered).collect();
        if let [Link { op, args }] = &links[..]
            && !args.is_empty()
        {
            let refs: SmallVec<[&AnyTensor; 3]> = args
                .iter()
                .map(|arg| match *arg {
                    Arg::Input(i) => refs[i],
                    Arg::Link(_) => unreachable!("there is one link"),
                })
                .collect();
            return apply(op, &refs);
        }
        let chain = Chain { inputs: refs.len(), links, outputs };
        apply(&Fused { chain: Arc::new(chain) }.into(), &refs)
    }

    /// The links that lead to those `wanted`, and the inputs that they read, in order.
    fn needed(&self, wanted: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let mut needed = vec![false; self.links.len()];
        let mut read = vec![false; self.inputs.len()];
        wanted.iter().for_each(|&link| needed[link] = true);
        for i in (0..self.links.len()).rev() {
            if !needed[i] {
                continue;
            }
            for arg in &self.links[i].args {
                match *arg {
                    Arg::Input(i) => read[i] = true,
                    Arg::Link(i) => needed[i] = true,
                }
            }
        }
        let places = |set: Vec<bool>| (0..set.len()).filter(|&i| set[i]).collect();
        (places(needed), places(read))
    }
}

static DEVICE: LazyLock<Device> = LazyLock::new(|| Device::custom(Recording));

/// Where tensors are that have no values yet. It reserves no memory.
struct Recording;

impl Backend for Recording {
    fn name(&self) -> &str {
        "fuse"
    }

    fn alloc(&self, _: usize) -> Option<usize> {
        static NEXT: AtomicUsize = AtomicUsize::new(128);
        Some(NEXT.fetch_add(64, Ordering::Relaxed))
    }

    unsafe fn free(&self, _: usize, _: usize) {}

    unsafe fn upload(&self, _: &[u8], _: usize) -> Result<()> {
        Err(wrong("numbers can not be brought to a tensor that has no values yet; do so before"))
    }

    unsafe fn download(&self, _: usize, _: &mut [u8]) -> Result<()> {
        Err(wrong("a tensor has no values until it is computed; read it after"))
    }

    /// What has inputs never comes here: see [`link`].
    fn execute(&self, op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
        match op {
            Op::Fill(_) if RECORDING.get() => {
                RECORDER.with_borrow_mut(|recorder| recorder.link(op, inputs, &outputs[0]))
            }
            op => Err(refused(op)),
        }
    }
}
