//! Recurrent layers against PyTorch: outputs, last states, gradients of inputs, first states and
//! parameters. `fixtures/recurrent.py` says how the numbers were made.

// `#[derive(Module)]` names the traits by their path in the facade.
extern crate kiln_nn as kiln;

use std::path::Path;
use std::sync::LazyLock;

use kiln_autograd::{Autograd, Backward, Gradients};
use kiln_nn::{
    CrossEntropyLossConfig, Embedding, EmbeddingConfig, GruCellConfig, GruConfig, Linear,
    LinearConfig, Lstm, LstmCellConfig, LstmConfig, LstmState, Module, RnnCellConfig, RnnConfig,
    RnnNonlinearity, RnnState, StateDict,
};
use kiln_tensor::{Device, Float, Int, Kind, Tensor, TensorData, Tolerance};

static FIXTURE: LazyLock<StateDict> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    StateDict::load(folder.join("recurrent.safetensors")).unwrap()
});

/// Sums over a few steps of f32.
const BOUND: f64 = 3e-6;

fn cpu() -> Device {
    Device::cpu()
}

fn expected(name: &str) -> &'static TensorData {
    FIXTURE.get(name).unwrap_or_else(|| panic!("{name} is not in the fixture"))
}

fn tensor<const D: usize, K: Kind>(name: &str) -> Tensor<D, K> {
    Tensor::from_data(expected(name).clone(), &cpu())
}

#[track_caller]
fn same<const D: usize>(name: &str, actual: &Tensor<D>) {
    println!("{name}");
    let tolerance = Tolerance::<f32>::rel_abs(BOUND, BOUND);
    actual.to_data().assert_approx_eq(expected(name), tolerance);
}

fn load(case: &str, model: &mut impl Module) {
    let prefix = format!("{case}.state.");
    let mut state = StateDict::default();
    for (name, data) in FIXTURE.iter() {
        if let Some(path) = name.strip_prefix(&prefix) {
            state.insert(path, data.clone());
        }
    }
    let report = model.load_state_dict(&state);
    assert!(report.is_complete() && report.converted.is_empty(), "{case}: {report}");
}

fn params_have_gradients(case: &str, model: &impl Module, grads: &Gradients) {
    for (path, param) in model.named_params() {
        let name = format!("{case}.grad.{path}");
        let grad = grads.get(&param).unwrap_or_else(|| panic!("{name} is missing"));
        let tolerance = Tolerance::<f32>::rel_abs(BOUND, BOUND);
        grad.to_data().unwrap().assert_approx_eq(expected(&name), tolerance);
    }
}

/// The first states of a case, tracked.
fn firsts<const D: usize>(case: &str) -> Vec<Tensor<D>> {
    let names = (0..2).map(|i| format!("{case}.first.{i}"));
    let there = names.filter(|name| FIXTURE.get(name).is_some());
    there.map(|name| tensor::<D, Float>(&name).require_grad()).collect()
}

/// One forward and backward pass: `forward` gives the steps, if there are any, and the last states.
fn check<M: Module, const D: usize, const S: usize>(
    case: &str,
    mut model: M,
    forward: impl Fn(
        &M,
        &Tensor<D>,
        &[Tensor<S>],
        Option<Tensor<1, Int>>,
    ) -> (Option<Tensor<3>>, Vec<Tensor<S>>),
) {
    load(case, &mut model);
    let x = tensor::<D, Float>(&format!("{case}.x")).require_grad();
    let first = firsts::<S>(case);
    let lengths =
        FIXTURE.get(&format!("{case}.lengths")).map(|_| tensor(&format!("{case}.lengths")));
    let (y, last) = forward(&model, &x, &first, lengths);
    let mut loss = Tensor::<1>::zeros([1], &cpu());
    if let Some(y) = y {
        same(&format!("{case}.y"), &y);
        loss += (y * tensor::<3, Float>(&format!("{case}.dy"))).sum();
    }
    for (i, last) in last.iter().enumerate() {
        same(&format!("{case}.last.{i}"), last);
        loss += (last * tensor::<S, Float>(&format!("{case}.dlast.{i}"))).sum();
    }
    let grads = Backward::new().run(&loss);
    same(&format!("{case}.dx"), &x.grad(&grads).unwrap());
    for (i, first) in first.iter().enumerate() {
        same(&format!("{case}.dfirst.{i}"), &first.grad(&grads).unwrap());
    }
    params_have_gradients(case, &model, &grads);
}

fn lstm(case: &str, config: LstmConfig) {
    check(case, config.init(&cpu()), |lstm: &Lstm, x: &Tensor<3>, first: &[Tensor<3>], lengths| {
        let state = match first {
            [hidden, cell] => Some(LstmState::new(cell.clone(), hidden.clone())),
            _ => None,
        };
        let (y, last) = match lengths {
            Some(lengths) => lstm.forward_lengths(x, state, &lengths),
            None => lstm.forward(x, state),
        };
        (Some(y), vec![last.hidden, last.cell])
    });
}

#[test]
fn lstm_of_one_layer() {
    lstm("lstm", LstmConfig::new(3, 4, true));
    lstm("lstm.plain", LstmConfig::new(3, 4, false).with_batch_first(false));
}

#[test]
fn lstm_of_two_layers_and_directions_with_lengths() {
    lstm("lstm.stacked", LstmConfig::new(3, 6, true).with_num_layers(2).with_bidirectional(true));
}

#[test]
fn lstm_with_a_projected_state() {
    let config = LstmConfig::new(3, 6, true);
    lstm("lstm.projected", config.clone().with_proj_size(2));
    let two = config.clone().with_num_layers(2).with_bidirectional(true);
    lstm("lstm.projected.stacked", two.with_proj_size(4));
    let error = kiln_tensor::guard(|| config.with_proj_size(6).init(&cpu())).unwrap_err();
    assert!(error.to_string().contains("proj_size 6 must be below"), "{error}");
}

#[test]
fn gru() {
    let new = GruConfig::new;
    for (case, config) in [
        ("gru", new(3, 4, true)),
        ("gru.plain", new(3, 4, false).with_batch_first(false)),
        ("gru.stacked", new(3, 6, true).with_num_layers(2).with_bidirectional(true)),
    ] {
        check(case, config.init(&cpu()), |gru, x: &Tensor<3>, first: &[Tensor<3>], lengths| {
            let first = first.first().cloned();
            let (y, last) = match lengths {
                Some(lengths) => gru.forward_lengths(x, first, &lengths),
                None => gru.forward(x, first),
            };
            (Some(y), vec![last])
        });
    }
}

#[test]
fn plain_rnn_with_tanh_and_relu() {
    let new = RnnConfig::new;
    let relu = new(3, 4, true).with_nonlinearity(RnnNonlinearity::Relu);
    for (case, config) in [
        ("rnn.tanh", new(3, 4, true)),
        ("rnn.relu", relu.with_batch_first(false)),
        ("rnn.stacked", new(3, 6, true).with_num_layers(2).with_bidirectional(true)),
    ] {
        check(case, config.init(&cpu()), |rnn, x: &Tensor<3>, first: &[Tensor<3>], lengths| {
            let first = first.first().cloned().map(RnnState::new);
            let (y, last) = match lengths {
                Some(lengths) => rnn.forward_lengths(x, first, &lengths),
                None => rnn.forward(x, first),
            };
            (Some(y), vec![last.hidden])
        });
    }
}

#[test]
fn cells() {
    let cell = LstmCellConfig::new(3, 5, true).init(&cpu());
    check("lstm_cell", cell, |cell, x: &Tensor<2>, first: &[Tensor<2>], _| {
        let state = LstmState::new(first[1].clone(), first[0].clone());
        let last = cell.forward(x, Some(state));
        (None, vec![last.hidden, last.cell])
    });
    let cell = GruCellConfig::new(3, 5, true).init(&cpu());
    check("gru_cell", cell, |cell, x: &Tensor<2>, first: &[Tensor<2>], _| {
        (None, vec![cell.forward(x, first.first().cloned())])
    });
    let tanh = RnnCellConfig::new(3, 5, true);
    let relu = RnnCellConfig::new(3, 5, false).with_nonlinearity(RnnNonlinearity::Relu);
    for (case, config) in [("rnn_cell", tanh), ("rnn_cell.relu", relu)] {
        check(case, config.init(&cpu()), |cell, x: &Tensor<2>, first: &[Tensor<2>], _| {
            (None, vec![cell.forward(x, first.first().cloned())])
        });
    }
}

#[derive(Clone, Debug, Module)]
struct Tagger {
    embedding: Embedding,
    lstm: Lstm,
    head: Linear,
}

#[test]
fn a_whole_model_of_embedding_lstm_linear_and_cross_entropy() {
    let mut model = Tagger {
        embedding: EmbeddingConfig::new(11, 6).init(&cpu()),
        lstm: LstmConfig::new(6, 8, true).with_num_layers(2).init(&cpu()),
        head: LinearConfig::new(8, 5).init(&cpu()),
    };
    load("model", &mut model);
    let x: Tensor<3> = model.embedding.forward(&tensor::<2, Int>("model.tokens"));
    let logits = model.head.forward(&model.lstm.forward(&x, None).0);
    let loss = CrossEntropyLossConfig::new().with_smoothing(Some(0.1)).init(&cpu());
    let loss = loss.forward_nd(&logits.swap_dims(1, 2), &tensor::<2, Int>("model.targets"));
    same("model.loss", &loss);
    let grads = Backward::new().run(&loss);
    params_have_gradients("model", &model, &grads);
}

#[test]
fn reversed_sequences_are_those_from_the_end() {
    let mut plain = LstmConfig::new(3, 4, true).init(&cpu());
    let mut reversed = LstmConfig::new(3, 4, true).with_reverse(true).init(&cpu());
    load("lstm", &mut plain);
    load("lstm", &mut reversed);
    let x: Tensor<3> = tensor("lstm.x");
    let (y, last) = reversed.forward(&x, None);
    let (expected, last2) = plain.forward(&x.flip([1]), None);
    assert_eq!(y.flip([1]).to_data(), expected.to_data());
    assert_eq!(last.cell.to_data(), last2.cell.to_data());
}

#[test]
fn a_step_at_a_time_is_the_whole_sequence() {
    let lstm = LstmConfig::new(3, 4, true).with_num_layers(2).init(&cpu());
    let x: Tensor<3> = tensor("lstm.x");
    let (y, last) = lstm.forward(&x, None);
    let mut state = None;
    for t in 0..5 {
        let (step, next) = lstm.forward(&x.narrow(1, t, 1), state);
        let whole = y.narrow(1, t, 1).to_data();
        step.to_data().assert_approx_eq(&whole, Tolerance::<f32>::rel_abs(1e-6, 1e-6));
        state = Some(next);
    }
    let hidden = state.unwrap().hidden.to_data();
    hidden.assert_approx_eq(&last.hidden.to_data(), Tolerance::<f32>::rel_abs(1e-6, 1e-6));
}

#[test]
fn dropout_acts_between_layers_in_training_only() {
    let config = LstmConfig::new(3, 4, true).with_num_layers(2).with_dropout(0.5);
    let mut lstm = config.init(&cpu());
    let x: Tensor<3> = tensor("lstm.x");
    let run = |lstm: &Lstm| lstm.forward(&x, None).0.to_data();
    assert_ne!(run(&lstm), run(&lstm));
    lstm.eval();
    assert_eq!(run(&lstm), run(&lstm));
}

#[test]
fn wrong_shapes_are_named() {
    let text = |work: &dyn Fn()| kiln_tensor::guard(work).unwrap_err().to_string();
    let lstm = LstmConfig::new(3, 4, true).init(&cpu());
    let x: Tensor<3> = tensor("lstm.x");
    let state = || Tensor::<3>::zeros([2, 4, 4], &cpu());
    let wrong = || drop(lstm.forward(&x, Some(LstmState::new(state(), state()))));
    let error = text(&wrong);
    assert!(error.contains("[layers x directions, batch, h], [1, 4, 4]"), "{error}");
    let lengths = Tensor::<1, Int>::from([1i64, 2]);
    let error = text(&|| drop(lstm.forward_lengths(&x, None, &lengths)));
    assert!(error.contains("lstm") && error.contains("expected 4 lengths"), "{error}");
    let error = text(&|| drop(LstmConfig::new(3, 0, true).init(&cpu())));
    assert!(error.contains("at least one layer"), "{error}");
}
