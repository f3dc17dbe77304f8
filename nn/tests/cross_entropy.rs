//! Cross-entropy with all its options against PyTorch: losses and gradients of the logits.
//! `fixtures/cross_entropy.py` says how the numbers were made.

use std::path::Path;
use std::sync::LazyLock;

use kiln_autograd::{Autograd, Backward};
use kiln_nn::{CrossEntropyLossConfig, Reduction, StateDict};
use kiln_tensor::module::{CrossEntropyOptions, cross_entropy_loss, cross_entropy_probs, nll_loss};
use kiln_tensor::{Device, Float, Int, Kind, Tensor, TensorData, Tolerance};

static FIXTURE: LazyLock<StateDict> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    StateDict::load(folder.join("cross_entropy.safetensors")).unwrap()
});

fn expected(name: &str) -> &'static TensorData {
    FIXTURE.get(name).unwrap_or_else(|| panic!("{name} is not in the fixture"))
}

fn tensor<const D: usize, K: Kind>(name: &str) -> Tensor<D, K> {
    Tensor::from_data(expected(name).clone(), &Device::cpu())
}

#[track_caller]
fn same<const D: usize>(name: &str, actual: &Tensor<D>) {
    println!("{name}");
    actual.to_data().assert_approx_eq(expected(name), Tolerance::<f32>::rel_abs(2e-6, 2e-6));
}

/// All cases of one shape of logits.
fn check<const D: usize, const D2: usize>(shape: &str) {
    let mut cases = 0;
    for function in ["cross", "nll", "probs"] {
        for options in ["plain", "w", "i", "s", "ws", "wis"] {
            for (reduction, how) in
                [("none", Reduction::None), ("mean", Reduction::Mean), ("sum", Reduction::Sum)]
            {
                let case = format!("{shape}.{function}.{options}.{reduction}");
                if FIXTURE.get(&format!("{case}.y")).is_none() {
                    continue;
                }
                let has = |option| options != "plain" && options.contains(option);
                let settings = CrossEntropyOptions {
                    weight: has("w").then(|| tensor("weight")),
                    ignore_index: Some(if has("i") { 2 } else { -100 }),
                    label_smoothing: if has("s") { 0.1 } else { 0.0 },
                    reduction: how,
                };
                let x = tensor::<D, Float>(&format!("{shape}.x")).require_grad();
                let mut targets = tensor::<D2, Int>(&format!("{shape}.targets"));
                if has("i") {
                    targets = targets.clamp_min(0);
                }
                let y = match function {
                    "cross" => cross_entropy_loss(&x, targets, settings),
                    "nll" => nll_loss(&x, targets, settings),
                    _ => cross_entropy_probs(&x, tensor(&format!("{shape}.probs")), settings),
                };
                same(&format!("{case}.y"), &y);
                let dy = match how {
                    Reduction::None => tensor::<D2, Float>(&format!("{shape}.dy")).reshape([-1]),
                    _ => Tensor::from([1.5]),
                };
                let grads = Backward::new().seed(&dy).run(&y);
                same(&format!("{case}.dx"), &x.grad(&grads).unwrap());
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 39, "cases of {shape}");
}

#[test]
fn rows_of_logits() {
    check::<2, 1>("rows");
}

#[test]
fn images_of_logits() {
    check::<4, 3>("images");
}

fn rows() -> (Tensor<2>, Tensor<1, Int>) {
    (tensor("rows.x"), tensor::<1, Int>("rows.targets").clamp_min(0))
}

#[test]
fn the_loss_has_the_options_of_its_config() {
    let (x, targets) = rows();
    let weights = expected("weight").to_vec::<f32>().unwrap();
    let config =
        CrossEntropyLossConfig::new().with_weights(Some(weights)).with_smoothing(Some(0.1));
    let loss = config.clone().with_ignore_index(2).init(&Device::cpu());
    same("rows.cross.wis.mean.y", &loss.forward(&x, &targets));
    // The same target, ignored as padding.
    let loss = config.with_pad_tokens(Some(vec![2])).init(&Device::cpu());
    same("rows.cross.wis.mean.y", &loss.forward(&x, &targets));
    let each = loss.with_reduction(Reduction::None).forward(&x, &targets);
    same("rows.cross.wis.none.y", &each);
    let smooth = CrossEntropyLossConfig::new().with_smoothing(Some(0.1)).init(&Device::cpu());
    same("rows.probs.s.mean.y", &smooth.forward_probs(&x, &tensor("rows.probs")));
}

#[test]
fn probabilities_instead_of_logits() {
    let (x, targets) = rows();
    let loss = CrossEntropyLossConfig::new().with_ignore_index(2);
    let probs = kiln_tensor::activation::softmax(&x, 1);
    let y = loss.with_logits(false).init(&Device::cpu()).forward(&probs, &targets);
    same("rows.cross.i.mean.y", &y);
}

#[test]
fn the_mean_of_nothing_is_not_a_number() {
    let x = tensor::<2, Float>("rows.x").require_grad();
    let none = Tensor::<1, Int>::full([9], -100, &Device::cpu());
    let loss = |reduction| CrossEntropyOptions { reduction, ..Default::default() };
    let mean = cross_entropy_loss(&x, &none, loss(Reduction::Mean));
    assert!(mean.into_scalar::<f32>().is_nan());
    let sum = cross_entropy_loss(&x, &none, loss(Reduction::Sum));
    let grads = sum.backward();
    assert_eq!(sum.into_scalar::<f32>(), 0.0);
    assert_eq!(x.grad(&grads).unwrap().abs().sum().into_scalar::<f32>(), 0.0);
}

#[test]
fn wrong_targets_and_options_are_named() {
    let text = |work: &dyn Fn()| kiln_tensor::guard(work).unwrap_err().to_string();
    let x: Tensor<2> = tensor("rows.x");
    let plain = CrossEntropyOptions::default;
    let targets = Tensor::<1, Int>::full([9], 5, &Device::cpu());
    let error = text(&|| drop(cross_entropy_loss(&x, &targets, plain())));
    assert_eq!(error, "cross_entropy: index 5 is out of range for 5 entries");
    let targets = Tensor::<1, Int>::full([8], 0, &Device::cpu());
    let error = text(&|| drop(cross_entropy_loss(&x, &targets, plain())));
    assert!(error.contains("a target for each row"), "{error}");
    let targets = Tensor::<1, Int>::full([9], 0, &Device::cpu());
    let weight = Some(Tensor::ones([4], &Device::cpu()));
    let weighted = CrossEntropyOptions { weight, ..plain() };
    let error = text(&|| drop(cross_entropy_loss(&x, &targets, weighted.clone())));
    assert!(error.contains("a weight for each class"), "{error}");
    let smooth = CrossEntropyOptions { label_smoothing: 1.5, ..plain() };
    let error = text(&|| drop(cross_entropy_loss(&x, &targets, smooth.clone())));
    assert!(error.contains("label smoothing 1.5 is not in 0..=1"), "{error}");
}
