//! The Kiln side of every workload, and the process that times it.

use std::hint::black_box;
use std::io::{Write, stdin, stdout};

use kiln::cuda::{Graph, Timer, reset_peak_memory, set_allows_tf32};
use kiln::nn::FeedForwardActivation;
use kiln::prelude::*;
use kiln::tensor::OrFail;
use kiln::tensor::op::{Activation, Conv2dOptions};
use kiln::{guard, profile};

use crate::answer::{Answer, Measure};
use crate::models::{Cnn, Gpt, Mlp};
use crate::resnet50::ResNet50;
use crate::timing;
use crate::workload::{ConvSize, Gelu, Precision, Request, Workload};

/// Calls a workload that many times.
pub type Calls = Box<dyn FnMut(u64)>;

/// Reads requests from stdin and answers each with a line, until stdin ends. The first line says
/// what answers.
pub fn serve(device: &Device) -> std::io::Result<()> {
    let answer = |answer: &Answer| {
        let line = serde_json::to_string(answer)?;
        writeln!(stdout(), "{line}")
    };
    answer(&Ok(Measure { about: about(device), ..Measure::default() }))?;
    let mut held: Option<Held> = None;
    for line in stdin().lines() {
        let line = line?;
        let measured = guard(|| {
            if held.as_ref().is_none_or(|held| held.line != line) {
                drop(held.take()); // frees the last one first
                held = Some(Held::new(line, device));
            }
            held.as_mut().expect("it was just made").measure(device)
        });
        answer(&measured.map_err(|error| error.to_string()))?;
    }
    Ok(())
}

/// What measures here, for the log.
fn about(device: &Device) -> String {
    let version = env!("CARGO_PKG_VERSION");
    if device.name() == "cpu" {
        return format!("Kiln {version} on the CPU");
    }
    format!("Kiln {version} on {}\n{}", device.name(), kiln::cuda::info())
}

/// A workload with its inputs.
struct Held {
    line: String,
    calls: Calls,
    flops: u64,
}

impl Held {
    /// What the line asks for, called once.
    fn new(line: String, device: &Device) -> Self {
        device.sync().or_fail();
        device.empty_cache();
        reset_peak_memory(device);
        let request: Request = serde_json::from_str(&line).expect("it comes from this program");
        let mut calls = make(&request, device);
        let flops = profile(|| calls(1)).flops();
        Self { line, calls, flops }
    }

    fn measure(&mut self, device: &Device) -> Measure {
        let us = timing::turn_by(|calls| {
            let timer = Timer::start(device).or_fail();
            (self.calls)(calls);
            timer.seconds().or_fail()
        });
        // Of the CPU the peak is that of the whole process.
        let peak = (device.name() != "cpu").then(|| device.memory().peak as f64 / 1e6);
        Measure { us, flops: self.flops, peak_mb: peak, ..Measure::default() }
    }
}

/// Makes a workload with its inputs.
pub fn make(request: &Request, device: &Device) -> Calls {
    device.seed(1);
    set_allows_tf32(matches!(
        request.workload,
        Workload::Matmul { precision: Precision::Tf32, .. }
    ));
    let from = &From { sets: request.sets, device: *device };
    match request.workload {
        Workload::Copy { elements } => {
            let half = || from.random([elements / 2], DType::F32);
            let halves = from.sets(|| vec![half(), half()]);
            forward(halves, |halves| Tensor::cat(halves.clone(), 0))
        }
        Workload::Add { elements } => {
            let x = from.sets(|| from.random([elements], DType::F32));
            forward(x, |x| x + x)
        }
        Workload::Item { elements } => {
            let x = from.sets(|| from.random([elements], DType::F32));
            forward(x, |x| (x + x).narrow(0, 0, 1).item::<f32>())
        }
        Workload::Matmul { precision, m, k, n } => {
            let dtype = precision.dtype();
            let factors = from.sets(|| (from.random([m, k], dtype), from.random([k, n], dtype)));
            forward(factors, |(a, b)| a.matmul(b))
        }
        Workload::Linear { gelu, rows, inputs, outputs, backward } => {
            let activation = match gelu {
                Gelu::Tanh => Activation::GeluTanh,
                Gelu::Erf => Activation::Gelu,
            };
            let inputs = from.sets(|| {
                let x = from.leaf([rows, inputs], DType::BF16);
                (x, from.leaf([outputs, inputs], DType::BF16), from.leaf([outputs], DType::BF16))
            });
            passes(inputs, backward, move |(x, weight, bias)| {
                module::linear_activation(x, weight, Some(bias), Some(activation))
            })
        }
        Workload::Chain { precision, elements, fused } => {
            let number = || from.random([elements], precision.dtype());
            let numbers = from.sets(|| [number(), number(), number(), number()]);
            forward(numbers, move |[a, b, c, d]| {
                let compute = || activation::gelu(a * b + c) * d;
                if fused { fuse(compute) } else { compute() }
            })
        }
        Workload::Softmax { precision, rows, columns } => {
            let x = from.sets(|| from.random([rows, columns], precision.dtype()));
            forward(x, |x| activation::softmax(x, 1))
        }
        Workload::LayerNorm { precision, rows, columns, backward } => {
            let dtype = precision.dtype();
            let x = from.sets(|| from.leaf([rows, columns], dtype));
            let [weight, bias] = [(); 2].map(|()| from.leaf([columns], dtype));
            passes(x, backward, move |x| module::layer_norm(x, &weight, Some(bias.clone()), 1e-5))
        }
        Workload::CrossEntropy { rows, classes, backward } => {
            let logits = from.sets(|| from.leaf([rows, classes], DType::F32));
            let targets = from.classes([rows], classes);
            let loss = CrossEntropyLoss::new();
            passes(logits, backward, move |logits| loss.forward(logits, &targets))
        }
        Workload::Attention { batch, heads, time, width, backward } => {
            let part = || from.leaf([batch, heads, time, width], DType::BF16);
            let parts = from.sets(|| [part(), part(), part()]);
            passes(parts, backward, |[query, key, value]| {
                module::scaled_dot_product_attention(query, key, value, None, 0.0, true, None)
            })
        }
        Workload::Conv { batch, conv, backward } => {
            let ConvSize { channels: [input, output], size, kernel, stride } = conv;
            let inputs = from.sets(|| {
                let x = from.leaf([batch, input, size, size], DType::BF16);
                (x, from.leaf([output, input, kernel, kernel], DType::BF16))
            });
            let padding = [kernel / 2; 2];
            let options = Conv2dOptions { padding, stride: [stride; 2], ..Default::default() };
            passes(inputs, backward, move |(x, weight)| module::conv2d(x, weight, None, options))
        }
        Workload::Adamw { gpt } => {
            let mut model = Gpt::of(&gpt, FeedForwardActivation::GeluTanh, device);
            let mut grads = Gradients::default();
            for (_, param) in model.named_params() {
                grads.insert(&param, param.detach().ones_like());
            }
            let mut optim = AdamWConfig::new(1e-4).init();
            repeat(move || optim.step(&mut model, grads.clone()))
        }
        Workload::TrainMlp { batch, ref sizes, graph } => {
            let (x, y) = (from.random([batch, sizes[0]], DType::F32), from.classes([batch], 10));
            let loss = CrossEntropyLoss::new();
            let model = Mlp::new(sizes, device);
            let step = train(model, None, move |model| loss.forward(&model.forward(&x), &y));
            from.started(step, graph)
        }
        Workload::TrainCnn { batch } => {
            let x = from.random([batch, 1, 28, 28], DType::F32);
            let (y, loss) = (from.classes([batch], 10), CrossEntropyLoss::new());
            repeat(train(Cnn::new(device), None, move |model| loss.forward(&model.forward(&x), &y)))
        }
        Workload::TrainGpt { batch, gpt, graph } => {
            let tokens = batch * gpt.positions;
            let x = from.classes([batch, gpt.positions], gpt.tokens);
            let (y, loss) = (from.classes([tokens], gpt.tokens), CrossEntropyLoss::new());
            let model = Gpt::of(&gpt, FeedForwardActivation::GeluTanh, device);
            let step = train(model, Some(DType::BF16), move |model| {
                loss.forward(&model.forward(&x).reshape([tokens, gpt.tokens]), &y)
            });
            from.started(step, graph)
        }
        Workload::TrainResnet { batch, size } => {
            let x = from.random([batch, 3, size, size], DType::F32);
            let (y, loss) = (from.classes([batch], 1000), CrossEntropyLoss::new());
            repeat(train(ResNet50::new(device), Some(DType::BF16), move |model| {
                loss.forward(&model.forward(&x), &y)
            }))
        }
    }
}

/// Where inputs come from.
struct From {
    sets: usize,
    device: Device,
}

impl From {
    fn sets<S>(&self, one: impl Fn() -> S) -> Vec<S> {
        (0..self.sets).map(|_| one()).collect()
    }

    fn random<const D: usize>(&self, shape: [usize; D], dtype: DType) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&self.device, dtype))
    }

    /// An input that gets a gradient.
    fn leaf<const D: usize>(&self, shape: [usize; D], dtype: DType) -> Tensor<D> {
        self.random(shape, dtype).require_grad()
    }

    /// A step whose kernels are started one by one, or as a graph.
    fn started(&self, mut step: impl FnMut() + 'static, graph: bool) -> Calls {
        if !graph {
            return repeat(step);
        }
        let mut graph = Graph::new(&self.device);
        repeat(move || graph.run(&mut step).or_fail())
    }

    fn classes<const D: usize>(&self, shape: [usize; D], classes: usize) -> Tensor<D, Int> {
        Tensor::random(shape, Distribution::Uniform(0.0, classes as f64), &self.device)
    }
}

impl Precision {
    fn dtype(self) -> DType {
        match self {
            Precision::F32 | Precision::Tf32 => DType::F32,
            Precision::F16 => DType::F16,
            Precision::Bf16 => DType::BF16,
        }
    }
}

fn repeat(mut call: impl FnMut() + 'static) -> Calls {
    Box::new(move |calls| (0..calls).for_each(|_| call()))
}

/// A workload without gradients, over sets of inputs in turn.
fn forward<S: 'static, R>(sets: Vec<S>, call: impl Fn(&S) -> R + 'static) -> Calls {
    let mut turn = 0;
    repeat(move || {
        drop(no_grad(|| black_box(call(black_box(&sets[turn])))));
        turn = (turn + 1) % sets.len();
    })
}

/// The same, and with `backward` the gradients of all leaves.
fn passes<S: 'static, const D: usize>(
    sets: Vec<S>,
    backward: bool,
    call: impl Fn(&S) -> Tensor<D> + 'static,
) -> Calls {
    if !backward {
        return forward(sets, call);
    }
    let seed = no_grad(|| call(&sets[0])).random_like(Distribution::Normal(0.0, 1.0));
    let mut turn = 0;
    repeat(move || {
        drop(black_box(Backward::new().seed(&seed).run(&call(black_box(&sets[turn])))));
        turn = (turn + 1) % sets.len();
    })
}

/// A training step, with products in a half type if one is given.
fn train<M: Module + 'static>(
    mut model: M,
    half: Option<DType>,
    loss: impl Fn(&M) -> Tensor<1> + 'static,
) -> impl FnMut() + 'static {
    let mut optim = AdamWConfig::new(1e-4).init();
    move || {
        let loss = match half {
            Some(dtype) => autocast(dtype, || loss(&model)),
            None => loss(&model),
        };
        optim.step(&mut model, loss.backward());
    }
}
