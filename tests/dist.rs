//! Several processes that train together; most tests have threads in their place, connected over
//! the loopback.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use kiln::data::{Batches, take};
use kiln::dist::{
    DataParallel, DataParallelConfig, ProcessGroup, ReduceOp, TcpConfig, spawn_local,
};
use kiln::prelude::*;

/// An address where nobody listens.
fn address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// What each of `world` ranks makes of its group.
fn ranks<T: Send>(world: usize, work: impl Fn(ProcessGroup) -> T + Sync) -> Vec<T> {
    let (master, work) = (address(), &work);
    std::thread::scope(|scope| {
        let start = |rank| {
            let config = TcpConfig::new(master.as_str(), rank, world).with_timeout(20.0);
            scope.spawn(move || work(config.init().unwrap()))
        };
        let threads: Vec<_> = (0..world).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn sums_and_means_are_right_and_the_same_bits_everywhere() {
    for (world, len) in [(1, 5), (2, 0), (2, 1), (3, 7), (4, 200_001)] {
        let values =
            |rank: usize| (0..len).map(move |i| (i % 97) as f32 * 0.37 + rank as f32 / 3.0);
        let sums = ranks(world, |group| {
            let x =
                Tensor::<1>::from_data(values(group.rank()).collect::<Vec<f32>>(), &Device::cpu());
            let mean = group.all_reduce(&x, ReduceOp::Mean).unwrap();
            assert_eq!(group.sum(&[1.0, group.rank() as f64]).unwrap()[0], world as f64);
            (group.all_reduce(&x, ReduceOp::Sum).unwrap().into_data(), mean.into_data())
        });
        for (sum, mean) in &sums {
            assert_eq!((sum, mean), (&sums[0].0, &sums[0].1));
            for (i, (sum, mean)) in sum.iter::<f64>().zip(mean.iter::<f64>()).enumerate() {
                let exact: f64 = (0..world).map(|r| values(r).nth(i).unwrap() as f64).sum();
                assert!((sum - exact).abs() < 1e-4 && (mean - exact / world as f64).abs() < 1e-4);
                if i > 300 {
                    break;
                }
            }
        }
    }
}

#[test]
fn broadcast_gather_and_half_types() {
    let results = ranks(3, |group| {
        let rank = group.rank() as i64;
        let mine = Tensor::<1, Int>::from([rank, rank * 10]);
        let from_two = group.broadcast(&mine, 2).unwrap().into_data().to_vec::<i64>().unwrap();
        let all = group.all_gather(&mine).unwrap();
        let all: Vec<_> = all.into_iter().map(|x| x.into_data().to_vec::<i64>().unwrap()).collect();
        let bytes = group.all_gather_bytes(&vec![7; group.rank() * 300_000]).unwrap();
        let lengths: Vec<_> = bytes.iter().map(Vec::len).collect();
        let half = Tensor::<1>::from([0.1 * (rank + 1) as f64]).cast(DType::BF16);
        let half = group.all_reduce(&half, ReduceOp::Sum).unwrap();
        assert_eq!(half.dtype(), DType::BF16);
        group.barrier().unwrap();
        (from_two, all, lengths)
    });
    for (from_two, all, lengths) in results {
        assert_eq!(from_two, [2, 20]);
        assert_eq!(all, [[0, 0], [1, 10], [2, 20]]);
        assert_eq!(lengths, [0, 300_000, 600_000]);
    }
}

/// Losses (of the own share) and final weights of a small training on 22 items: 20 steps with an
/// uneven last batch in each epoch.
fn train(group: &ProcessGroup, batch: usize, bucket_megabytes: f64) -> (Vec<f64>, TensorData) {
    let device = Device::cpu();
    let pixels: Vec<f32> = (0..22 * 4).map(|i| ((i * 37 % 23) as f32 - 11.0) / 11.0).collect();
    let x = Tensor::<2>::from_data(TensorData::new(pixels, [22, 4]), &device);
    let y = x.square().sum_dim(1);
    // Of rank 0 are the weights that count.
    let part = |i: i32, shape: [usize; 2]| {
        let count = shape[0] * shape[1];
        let value = |k: usize| ((k as i32 * 7 + i) % 13 - 6) as f32 / (9.0 + group.rank() as f32);
        Tensor::<2>::from_data(TensorData::new((0..count).map(value).collect(), shape), &device)
    };
    let mut model = [
        LinearConfig::new(4, 16).init(&device),
        LinearConfig::new(16, 16).init(&device),
        LinearConfig::new(16, 1).init(&device),
    ];
    for (i, layer) in model.iter_mut().enumerate() {
        let shape = layer.weight.dims();
        layer.weight.set(part(i as i32, shape));
    }
    if group.rank() == 0 {
        model.iter_mut().for_each(|layer| {
            let bias = layer.bias.as_mut().unwrap();
            bias.set(bias.val().zeros_like());
        });
    }
    let config = DataParallelConfig::new().with_bucket_megabytes(bucket_megabytes);
    let mut parallel = config.init(group, &mut model).unwrap();
    let mut optim = AdamConfig::new(0.01).init();
    let batches = Batches::new(22, batch).shuffled(3).share(group.rank(), group.world_size());
    let mut losses = Vec::new();
    for epoch in 0..5 {
        for indices in batches.epoch(epoch) {
            let (x, y) = (take(&x, &indices), take(&y, &indices));
            let hidden = activation::relu(model[0].forward(&x));
            let hidden = activation::relu(model[1].forward(&hidden));
            let loss = (model[2].forward(&hidden) - y).square().mean();
            losses.push(loss.item::<f64>());
            let grads = parallel.backward(&model, &loss).unwrap();
            optim.step(&mut model, grads);
        }
    }
    let weights = model.iter().map(|layer| layer.weight.val().flatten::<1>(0, 1));
    let weights: Vec<Tensor<1>> = weights.collect();
    (losses, Tensor::cat(weights, 0).into_data())
}

fn assert_close(losses: &[f64], expected: &[f64]) {
    assert_eq!(losses.len(), expected.len());
    for (i, (loss, expected)) in losses.iter().zip(expected).enumerate() {
        assert!((loss - expected).abs() < 1e-5 * expected.max(1.0), "{i}: {loss} {expected}");
    }
}

#[test]
fn two_ranks_follow_one_with_twice_the_batch() {
    let one = TcpConfig::new("", 0, 1).init().unwrap();
    let (expected, weights) = train(&one, 6, 25.0);
    assert!(expected[19] < expected[0] / 2.0, "{expected:?}");
    for megabytes in [0.0, 25.0] {
        let run = || ranks(2, |group| train(&group, 3, megabytes));
        let both = run();
        assert_eq!(both[0].1, both[1].1, "all ranks hold the same bits");
        assert_eq!(both, run(), "and a run repeats bit for bit");
        // Sums in another order: losses and weights differ by 1.2e-7 here, two roundings of 6e-8.
        let means = both[0].0.iter().zip(&both[1].0).map(|(a, b)| (a + b) / 2.0);
        assert_close(&means.collect::<Vec<_>>(), &expected);
        both[0].1.assert_approx_eq::<f32>(&weights, kiln::tensor::Tolerance::absolute(1e-5));
    }
}

#[test]
fn accumulated_gradients_are_averaged_once() {
    let results = ranks(2, |group| {
        let mut w = Param::new(Tensor::<1>::from([1.0]));
        let mut parallel = DataParallel::new(&group, &mut w).unwrap();
        let scale = (group.rank() + 1) as f64;
        let earlier = (w.val() * scale).backward();
        let grads = parallel.backward_onto(&w, &(w.val() * 10.0 * scale), earlier).unwrap();
        let again = parallel.reduce(&w, (w.val() * scale).backward()).unwrap();
        [&grads, &again].map(|grads| w.grad(grads).unwrap().item::<f64>())
    });
    assert_eq!(results, [[16.5, 1.5]; 2]);
}

#[test]
fn unused_parameters_are_named_or_allowed() {
    for find_unused in [false, true] {
        let results = ranks(2, |group| {
            let mut pair = [1.0, 2.0].map(|x| Param::new(Tensor::<1>::from([x])));
            let config = DataParallelConfig::new().with_find_unused(find_unused);
            let mut parallel = config.init(&group, &mut pair).unwrap();
            let (a, b) = (pair[0].val(), pair[1].val());
            let loss = if group.rank() == 0 { a * b } else { a * 4.0 };
            let grads = parallel.backward(&pair, &loss);
            grads.map(|grads| pair.each_ref().map(|w| w.grad(&grads).unwrap().item::<f64>()))
        });
        for result in results {
            match result {
                Ok(grads) => assert!(find_unused && grads == [3.0, 0.5], "{grads:?}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!find_unused && text.contains("\n  1: on 1 of 2 ranks"), "{text}");
                }
            }
        }
    }
}

#[test]
fn different_models_are_an_error_on_all_ranks() {
    for text in ranks(2, |group| {
        let mut model = LinearConfig::new(3, 2 + group.rank()).init(&Device::cpu());
        DataParallel::new(&group, &mut model).unwrap_err().to_string()
    }) {
        assert!(text.contains("weight") && text.contains("rank 1"), "{text}");
    }
}

#[test]
fn different_operations_and_lost_ranks_are_errors_that_name_the_rank() {
    let texts = ranks(2, |group| group.sum(&vec![0.0; 3 + group.rank()]).unwrap_err().to_string());
    assert!(texts.iter().any(|text| text.contains("same order")), "{texts:?}");
    assert!(texts.iter().all(|text| text.contains("rank ")), "{texts:?}");

    // Rank 1 goes; all others hear of it, and stay refused.
    let texts = ranks(3, |group| {
        group.barrier().unwrap();
        if group.rank() == 1 {
            return "rank 1".into();
        }
        let text = group.sum(&[1.0]).unwrap_err().to_string();
        assert!(group.barrier().is_err());
        text
    });
    assert!(texts.iter().all(|text| text.contains("rank 1")), "{texts:?}");
}

#[test]
fn a_rank_that_hangs_or_never_comes_is_an_error_in_time() {
    let start = std::time::Instant::now();
    let alone = TcpConfig::new(address(), 0, 2).with_timeout(0.3).init().unwrap_err().to_string();
    assert!(alone.contains("waits") && alone.contains("ranks 1"), "{alone}");
    let alone = TcpConfig::new(address(), 1, 2).with_timeout(0.3).init().unwrap_err().to_string();
    assert!(alone.contains("rank 0 can not be reached"), "{alone}");
    let master = address();
    std::thread::scope(|scope| {
        let join =
            |rank| TcpConfig::new(master.as_str(), rank, 2).with_timeout(1.0).init().unwrap();
        let hung = scope.spawn(move || {
            let group = join(1);
            std::thread::sleep(Duration::from_secs(2));
            drop(group);
        });
        let text = join(0).sum(&[1.0]).unwrap_err().to_string();
        assert!(text.contains("rank 1") && text.contains("sent nothing"), "{text}");
        hung.join().unwrap();
    });
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn wrong_world_sizes_and_strangers_are_told() {
    let master = address();
    std::thread::scope(|scope| {
        let join =
            |rank, world| TcpConfig::new(master.as_str(), rank, world).with_timeout(5.0).init();
        let first = scope.spawn(move || join(0, 2));
        // Not a message of Kiln, which is ignored.
        let stranger = loop {
            match TcpStream::connect(&master) {
                Ok(stream) => break stream,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        std::io::Write::write_all(&mut &stranger, &[b'x'; 64]).unwrap();
        let second = join(1, 3).unwrap_err().to_string();
        let first = first.join().unwrap().unwrap_err().to_string();
        for text in [first, second] {
            assert!(text.contains("rank 1 was told of 3 processes, rank 0 of 2"), "{text}");
        }
    });
}

#[test]
fn two_processes_train_together() {
    let program = std::env::current_exe().unwrap();
    spawn_local(2, |_| {
        let mut command = std::process::Command::new(&program);
        command.args(["--exact", "a_started_process", "--ignored"]);
        command
    })
    .unwrap();
}

#[test]
#[ignore = "two_processes_train_together starts it"]
fn a_started_process() {
    train_alike(&ProcessGroup::from_env().unwrap());
}

/// `mpirun -n 2 <the built test> --exact --ignored processes_of_mpirun_train_together`
#[cfg(feature = "mpi")]
#[test]
#[ignore = "mpirun starts it"]
fn processes_of_mpirun_train_together() {
    train_alike(&ProcessGroup::mpi().unwrap());
}

/// Two ranks follow one process, by whatever they are connected.
fn train_alike(group: &ProcessGroup) {
    assert_eq!(group.world_size(), 2);
    let (losses, weights) = train(group, 3, 25.0);
    let all = group.all_gather_bytes(weights.bytes()).unwrap();
    assert_eq!(all[0], all[1]);
    let sums = group.sum(&losses).unwrap();
    let (expected, _) = train(&TcpConfig::new("", 0, 1).init().unwrap(), 6, 25.0);
    assert_close(&sums.iter().map(|sum| sum / 2.0).collect::<Vec<_>>(), &expected);
    // Longer than a piece, and of different lengths.
    let mine = Tensor::<1>::full([3_000_001], 1.0 + group.rank() as f64, &Device::cpu());
    let sum = group.all_reduce(&mine, ReduceOp::Sum).unwrap();
    assert!(sum.into_data().iter::<f64>().all(|x| x == 3.0));
    let bytes = group.all_gather_bytes(&vec![7; 1 + group.rank() * 300_000]).unwrap();
    assert_eq!(bytes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 300_001]);
    let last = Tensor::<1, Int>::from([group.rank() as i64]);
    assert_eq!(group.broadcast(&last, 1).unwrap().item::<i64>(), 1);
}
