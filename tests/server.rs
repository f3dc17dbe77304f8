//! A server: threads that share a model and run what strangers send.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kiln::memory::LeakCheck;
use kiln::prelude::*;
use kiln::{Error, guard};

const THREADS: usize = 8;

#[derive(Module, Debug)]
struct Net {
    embedding: Embedding,
    conv: Conv1d,
    norm: LayerNorm,
    fc: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(100, 24).init(device),
            conv: Conv1dConfig::new(24, 32, 3).init(device),
            norm: LayerNormConfig::new(32).init(device),
            fc: LinearConfig::new(32, 5).init(device),
        }
    }

    /// Tokens `[n, time]` with a scale for each, `[n, time, 1]`, to probabilities `[n, 5]`.
    fn forward(&self, tokens: &Tensor<2, Int>, scale: &Tensor<3>) -> Tensor<2> {
        let x = self.embedding.forward(tokens) * scale;
        let x = activation::gelu(self.conv.forward(&x.swap_dims(1, 2)));
        let x = self.norm.forward(&x.mean_dim(2).squeeze_dim::<2>(2));
        activation::softmax(self.fc.forward(&x), 1)
    }
}

/// What a stranger sends.
enum Request {
    /// Tokens and scales of a batch.
    Batch { tokens: Vec<i64>, scale: Vec<f32>, shape: [usize; 2] },
    /// A product of two matrices of these shapes.
    Product([[usize; 2]; 2]),
    /// So many numbers.
    Memory(usize),
}

/// The bits of the answer.
fn answer(net: &Net, request: &Request) -> Result<Vec<u32>, Error> {
    let device = Device::cpu();
    let y = guard(|| match request {
        Request::Batch { tokens, scale, shape: [n, time] } => {
            let tokens = Tensor::<1, Int>::from(tokens.clone()).reshape([*n, *time]);
            let scale = Tensor::<1>::from(scale.clone()).reshape([*n, *time, 1]);
            no_grad(|| net.forward(&tokens, &scale))
        }
        Request::Product([a, b]) => {
            Tensor::<2>::ones(*a, &device).matmul(Tensor::ones(*b, &device))
        }
        Request::Memory(n) => Tensor::zeros([*n, 4], &device),
    })?;
    Ok(y.into_data().iter::<f32>().map(f32::to_bits).collect())
}

fn batch(shape: [usize; 2], seed: usize) -> Request {
    let items = shape[0] * shape[1];
    let tokens = (0..items).map(|i| ((i * 37 + seed * 11) % 100) as i64).collect();
    let scale = (0..items).map(|i| ((i + seed) as f32 * 0.7).sin()).collect();
    Request::Batch { tokens, scale, shape }
}

/// Requests with an answer.
fn good() -> Vec<Request> {
    let mut requests: Vec<_> = [[1, 3], [4, 16], [7, 9], [64, 40], [0, 5]]
        .into_iter()
        .zip(1..)
        .map(|(shape, seed)| batch(shape, seed))
        .collect();
    let mut poisoned = batch([3, 8], 9);
    if let Request::Batch { scale, .. } = &mut poisoned {
        (scale[2], scale[20]) = (f32::NAN, f32::INFINITY);
    }
    requests.extend([
        poisoned,
        Request::Product([[3, 4], [4, 2]]),
        Request::Product([[2, 0], [0, 3]]),
    ]);
    requests
}

/// Requests without, and a part of what is said to them.
fn bad() -> Vec<(Request, &'static str)> {
    let with = |place: usize, token: i64| {
        let mut request = batch([4, 8], 3);
        if let Request::Batch { tokens, .. } = &mut request {
            tokens[place] = token;
        }
        request
    };
    let short = Request::Batch { tokens: vec![1; 7], scale: vec![1.0; 8], shape: [2, 4] };
    let few_scales = Request::Batch { tokens: vec![1; 8], scale: vec![1.0; 4], shape: [2, 4] };
    vec![
        (with(5, 100), "index 100"),
        (with(31, -1), "index -1"),
        (with(0, i64::MIN), "out of range"),
        (short, "reshape"),
        (few_scales, "reshape"),
        (batch([3, 2], 1), "conv"),
        (batch([2, 0], 1), "conv"),
        (Request::Product([[2, 3], [2, 3]]), "matmul"),
        (Request::Product([[2, 3], [0, 3]]), "matmul"),
        (Request::Memory(usize::MAX / 8), "more elements than memory"),
        (Request::Memory(1 << 50), "out of memory"),
    ]
}

/// The memory of the process in KiB, where the system tells it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Serves for 3 seconds, or for a minute if `KILN_TEST_SLOW` is set.
#[test]
fn eight_threads_serve_good_and_bad_requests_side_by_side() {
    let seconds = if std::env::var_os("KILN_TEST_SLOW").is_some() { 60 } else { 3 };
    kiln::seed(1);
    let mut net = Net::new(&Device::cpu());
    net.eval();
    let net = Arc::new(net);
    let expected: Vec<_> = good().iter().map(|request| answer(&net, request).unwrap()).collect();
    assert!(expected[5].iter().any(|&bits| f32::from_bits(bits).is_nan()), "NaN in, NaN out");
    assert_eq!(expected[4], [0; 0], "nothing in, nothing out");

    let check = LeakCheck::new(&Device::cpu());
    let (start, warm) = (Instant::now(), Duration::from_secs(1));
    let serve = |worker: usize, until: Duration| {
        let (good, bad) = (good(), bad());
        let mut served = 0;
        while start.elapsed() < until {
            for i in 0..good.len().max(bad.len()) {
                let (g, b) = ((i + worker) % good.len(), (i * 7 + worker) % bad.len());
                assert_eq!(answer(&net, &good[g]).unwrap(), expected[g], "request {g}");
                let (request, text) = &bad[b];
                let error = answer(&net, request).expect_err("it is wrong").to_string();
                assert!(error.contains(text), "{error}");
                served += 2;
            }
        }
        served
    };
    let all = |until: Duration| {
        thread::scope(|scope| {
            let serve = &serve;
            let threads: Vec<_> =
                (0..THREADS).map(|worker| scope.spawn(move || serve(worker, until))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        })
    };
    let warmed = all(warm);
    let first = resident();
    let served = warmed + all(Duration::from_secs(seconds));
    let last = resident();
    println!("{served} requests in {seconds} s; {first:?} KiB resident, at the end {last:?}");
    assert!(served > 100, "{served}");
    drop(check);
    if let (Some(first), Some(last)) = (first, last) {
        assert!(last < first + first / 5 + 8192, "{first} KiB resident, then {last}");
    }
}
