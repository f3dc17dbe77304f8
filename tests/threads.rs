//! Training and inference on several threads at once.

use std::sync::Arc;
use std::thread;

use kiln::prelude::*;

#[derive(Module, Clone, Debug)]
struct Net {
    fc1: Linear,
    norm: LayerNorm,
    fc2: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            fc1: LinearConfig::new(12, 24).init(device),
            norm: LayerNormConfig::new([24]).init(device),
            fc2: LinearConfig::new(24, 5).init(device),
        }
    }

    fn loss(&self, x: &Tensor<2>, y: &Tensor<1, Int>) -> Tensor<1> {
        let hidden = activation::gelu(self.norm.forward(&self.fc1.forward(x)));
        CrossEntropyLoss::new().forward(&self.fc2.forward(&hidden), y)
    }
}

/// Different data for every worker, without a generator that they would share.
fn data(worker: usize) -> (Tensor<2>, Tensor<1, Int>) {
    let x: Vec<f32> = (0..16 * 12).map(|i| ((i * 37 + worker * 101) as f32 * 0.7).sin()).collect();
    let y: Vec<i64> = (0..16).map(|i| ((i * 3 + worker) % 5) as i64).collect();
    (Tensor::<1>::from(x).reshape([16, 12]), Tensor::from(y))
}

/// The losses of a training.
fn train(mut net: Net, worker: usize, steps: usize) -> Vec<u32> {
    let (x, y) = data(worker);
    let mut optim = AdamConfig::new(0.01).init();
    let step = |_| {
        let loss = net.loss(&x, &y);
        optim.step(&mut net, loss.backward());
        loss.item::<f32>().to_bits()
    };
    (0..steps).map(step).collect()
}

#[test]
fn eight_trainings_side_by_side_are_those_of_one_thread() {
    let net = Net::new(&Device::cpu());
    let alone: Vec<_> = (0..8).map(|worker| train(net.clone(), worker, 200)).collect();
    assert!(alone.iter().all(|losses| f32::from_bits(losses[199]) < f32::from_bits(losses[0])));
    let together = thread::scope(|scope| {
        let spawn = |worker| {
            let net = net.clone();
            scope.spawn(move || train(net, worker, 200))
        };
        let threads: Vec<_> = (0..8).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(together, alone);
}

#[test]
fn eight_threads_share_one_model_and_get_the_gradients_of_one() {
    let net = Arc::new(Net::new(&Device::cpu()));
    let gradients = |worker: usize| {
        let (x, y) = data(worker);
        let grads = net.loss(&x, &y).backward();
        let params = [&net.fc1.weight, &net.fc2.weight];
        params.map(|param| param.grad(&grads).unwrap().into_data())
    };
    let alone: Vec<_> = (0..8).map(gradients).collect();
    thread::scope(|scope| {
        for (worker, alone) in alone.iter().enumerate() {
            let gradients = &gradients;
            scope.spawn(move || (0..200).for_each(|_| assert_eq!(gradients(worker), *alone)));
        }
    });
}

/// A graph that one thread built may be walked, and dropped, by another.
#[test]
fn a_graph_moves_to_another_thread() {
    let net = Net::new(&Device::cpu());
    let (x, y) = data(0);
    let here = net.fc1.weight.grad(&net.loss(&x, &y).backward()).unwrap().into_data();
    let loss = net.loss(&x, &y);
    let there = thread::spawn(move || loss.backward()).join().unwrap();
    assert_eq!(net.fc1.weight.grad(&there).unwrap().into_data(), here);
}
