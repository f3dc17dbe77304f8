//! Losses against PyTorch: values and gradients, for each reduction. `fixtures/losses.py` says how
//! the numbers were made.

use std::path::Path;
use std::sync::LazyLock;

use kiln_autograd::{Autograd, Backward};
use kiln_nn::{
    BinaryCrossEntropyLossConfig, CTCLossConfig, ClipLoss, CosineEmbeddingLossConfig,
    DiceLossConfig, FocalLossConfig, GaussianNLLLossConfig, HingeEmbeddingLossConfig,
    HuberLossConfig, InfoNceLossConfig, KLDivLossConfig, L1Loss, LpLossConfig,
    MarginRankingLossConfig, Module, MseLoss, MultiLabelMarginLoss, MultiLabelSoftMarginLossConfig,
    MultiMarginLossConfig, NllLossConfig, NtXentLossConfig, PoissonNllLossConfig, Reduction,
    SigmoidFocalLossConfig, SmoothL1LossConfig, SoftMarginLoss, StateDict, TripletMarginLossConfig,
    TverskyLossConfig,
};
use kiln_tensor::{Device, Int, Kind, Tensor, TensorData, Tolerance, guard, linalg};

static FIXTURE: LazyLock<StateDict> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    StateDict::load(folder.join("losses.safetensors")).unwrap()
});

fn cpu() -> Device {
    Device::cpu()
}

fn tensor<const D: usize, K: Kind>(name: &str) -> Tensor<D, K> {
    let data = FIXTURE.get(name).unwrap_or_else(|| panic!("{name} is not in the fixture"));
    Tensor::from_data(data.clone(), &cpu())
}

fn weights() -> Option<Vec<f64>> {
    Some(tensor::<1, kiln_tensor::Float>("weights").to_data().iter().collect())
}

fn flat(data: &TensorData) -> Tensor<1> {
    Tensor::from_data(data.iter::<f32>().collect::<Vec<_>>().as_slice(), &cpu())
}

/// `loss` of `N` inputs of rank `D` has the values and gradients of the case `name`.
#[track_caller]
fn check<const N: usize, const D: usize>(
    name: &str,
    loss: impl Fn(&[Tensor<D>; N], Reduction) -> Tensor<1>,
) {
    for (reduction, text) in [
        (Reduction::None, "none"),
        (Reduction::Mean, "mean"),
        (Reduction::Sum, "sum"),
        (Reduction::BatchMean, "batchmean"),
    ] {
        let Some(expected) = FIXTURE.get(&format!("{name}.{text}.y")) else {
            assert_eq!(reduction, Reduction::BatchMean, "{name}.{text}");
            continue;
        };
        let inputs: [Tensor<D>; N] =
            std::array::from_fn(|i| tensor::<D, _>(&format!("{name}.x{i}")).require_grad());
        let y = loss(&inputs, reduction);
        let near = Tolerance::<f32>::rel_abs(1e-5, 1e-5);
        println!("{name}.{text}");
        y.to_data().assert_approx_eq(&flat(expected).to_data(), near);
        let dy = match reduction {
            Reduction::None => flat(FIXTURE.get(&format!("{name}.dy")).unwrap()),
            _ => y.ones_like(),
        };
        let grads = Backward::new().seed(&dy).run(&y);
        for (i, x) in inputs.iter().enumerate() {
            println!("{name}.{text}.dx{i}");
            let expected = tensor::<D, kiln_tensor::Float>(&format!("{name}.{text}.dx{i}"));
            x.grad(&grads).unwrap().to_data().assert_approx_eq(&expected.to_data(), near);
        }
    }
}

#[test]
fn differences() {
    check("l1", |[x, y]: &[Tensor<2>; 2], r| L1Loss::new().forward(x, y, r));
    check("mse", |[x, y]: &[Tensor<2>; 2], r| MseLoss::new().forward(x, y, r));
    let huber = HuberLossConfig::new(0.7).init();
    check("huber", |[x, y]: &[Tensor<2>; 2], r| huber.forward(x, y, r));
    check("huber", |[x, y]: &[Tensor<2>; 2], r| r.apply(huber.forward_residuals(x - y)));
    for (name, beta) in [("smooth_l1", 1.0), ("smooth_l1.beta", 0.3), ("smooth_l1.zero", 0.0)] {
        let loss = SmoothL1LossConfig::new().with_beta(beta).init();
        check(name, |[x, y]: &[Tensor<2>; 2], r| loss.forward_with_reduction(x, y, r));
    }
    let lp = LpLossConfig::new(1.5).init();
    check("lp", |[x, y]: &[Tensor<2>; 2], r| lp.forward(x, y, r));
    check("l1", |[x, y]: &[Tensor<2>; 2], r| LpLossConfig::l1().forward(x, y, r));
    check("mse", |[x, y]: &[Tensor<2>; 2], r| LpLossConfig::l2().forward(x, y, r));
}

#[test]
fn likelihood_of_classes() {
    let config = NllLossConfig::new;
    for (name, targets, loss) in [
        ("nll", "classes", config()),
        ("nll.weights", "classes", config().with_weights(weights())),
        ("nll.ignored", "rows", config().with_weights(weights()).with_ignore_index(2)),
    ] {
        let (loss, targets) = (loss.init(&cpu()), tensor::<1, Int>(targets));
        check(name, |[x]: &[Tensor<2>; 1], r| loss.forward(x, &targets, r));
    }
    let (loss, pixels) =
        (config().with_weights(weights()).init(&cpu()), tensor::<3, Int>("pixels"));
    check("nll.image", |[x]: &[Tensor<4>; 1], r| loss.forward(x, &pixels, r));
    let losses = loss.forward_no_reduction(tensor::<4, _>("nll.image.x0"), &pixels);
    assert_eq!(losses.dims(), [2, 3, 4]);
}

#[test]
fn likelihood_of_counts() {
    let counts: Tensor<2> = tensor("counts");
    let config = PoissonNllLossConfig::new;
    for (name, config) in [
        ("poisson", config()),
        ("poisson.full", config().with_full(true)),
        ("poisson.rates", config().with_log_input(false).with_full(true)),
        ("poisson.eps", config().with_log_input(false).with_eps(0.5)),
    ] {
        let loss = config.init();
        check(name, |[x]: &[Tensor<2>; 1], r| loss.forward(x, &counts, r));
    }
}

#[test]
fn likelihood_of_values() {
    let config = GaussianNLLLossConfig::new;
    for (name, config) in [
        ("gaussian", config()),
        ("gaussian.full", config().with_full(true).with_eps(0.01)),
        ("gaussian.rows", config()),
    ] {
        let loss = config.init();
        check(name, |[mean, y, var]: &[Tensor<2>; 3], r| loss.forward(mean, y, var, r));
    }
}

#[test]
fn divergence() {
    let target: Tensor<2> = tensor("probabilities");
    let loss = KLDivLossConfig::new().init();
    check("kl", |[x]: &[Tensor<2>; 1], r| loss.forward(x, &target, r));
    let log = KLDivLossConfig::new().with_log_target(true).init();
    check("kl.log", |[x, y]: &[Tensor<2>; 2], r| log.forward(x, y, r));
    let x: Tensor<2> = tensor("kl.x0");
    let [auto, batch] =
        [Reduction::Auto, Reduction::BatchMean].map(|r| loss.forward(&x, &target, r).to_data());
    assert_eq!(auto, batch);
}

#[test]
fn binary_cross_entropy() {
    let (hard, config) = (tensor::<2, Int>("hard"), BinaryCrossEntropyLossConfig::new);
    for (name, config) in [
        ("bce", config()),
        ("bce.weights", config().with_weights(weights())),
        ("bce.smooth", config().with_smoothing(Some(0.1))),
        ("bce.pos_one", config().with_logits(true).with_pos_weight(Some(vec![3.0]))),
    ] {
        let loss = config.init(&cpu());
        check(name, |[x]: &[Tensor<2>; 1], r| loss.forward_with_reduction(x, &hard, r));
        let float = hard.float();
        check(name, |[x]: &[Tensor<2>; 1], r| loss.forward_with_reduction(x, &float, r));
    }
    let logits = || config().with_logits(true);
    for (name, config) in [
        ("bce.logits", logits()),
        ("bce.pos", logits().with_weights(weights()).with_pos_weight(weights())),
    ] {
        let loss = config.init(&cpu());
        check(name, |[x, y]: &[Tensor<2>; 2], r| loss.forward_with_reduction(x, y, r));
    }
    let vector = tensor::<1, Int>("vector");
    for (name, config) in [
        ("bce.vector", config().with_weights(Some(vec![3.0, 7.0]))),
        ("bce.vector_smooth", config().with_smoothing(Some(0.1))),
    ] {
        let loss = config.init(&cpu());
        check(name, |[x]: &[Tensor<1>; 1], r| loss.forward_with_reduction(x, &vector, r));
    }
}

#[test]
fn margins() {
    let signs: Tensor<2, Int> = tensor("signed");
    for (name, margin) in [("hinge", 1.0), ("hinge.margin", 0.4)] {
        let loss = HingeEmbeddingLossConfig::new().with_margin(margin).init();
        check(name, |[x]: &[Tensor<2>; 1], r| loss.forward(x, &signs, r));
        let float = signs.float();
        check(name, |[x]: &[Tensor<2>; 1], r| loss.forward(x, &float, r));
    }
    for (name, margin) in [("ranking", 0.0), ("ranking.margin", 0.5)] {
        let loss = MarginRankingLossConfig::new().with_margin(margin).init();
        check(name, |[x, y]: &[Tensor<2>; 2], r| loss.forward(x, y, &signs, r));
    }
    let soft = SoftMarginLoss::new();
    check("soft_margin", |[x]: &[Tensor<2>; 1], r| soft.forward(x, &signs, r));
    let rows: Tensor<1, Int> = tensor("rows");
    let config = MultiMarginLossConfig::new;
    let options = config().with_p(2).with_margin(0.7).with_weights(weights());
    for (name, config) in [("multi_margin", config()), ("multi_margin.options", options)] {
        let loss = config.init();
        check(name, |[x]: &[Tensor<2>; 1], r| loss.forward(x, &rows, r));
    }
}

#[test]
fn several_labels() {
    let labels: Tensor<2, Int> = tensor("labels");
    let loss = MultiLabelMarginLoss::new();
    check("multi_label", |[x]: &[Tensor<2>; 1], r| loss.forward(x, &labels, r));
    let hard: Tensor<2, Int> = tensor("hard");
    let config = MultiLabelSoftMarginLossConfig::new;
    for (name, config) in [
        ("multi_label_soft", config()),
        ("multi_label_soft.weights", config().with_weights(weights())),
    ] {
        let loss = config.init(&cpu());
        check(name, |[x]: &[Tensor<2>; 1], r| loss.forward(x, &hard, r));
    }
}

#[test]
fn embeddings() {
    let pairs: Tensor<1, Int> = tensor("pairs");
    for (name, margin) in [("cosine", 0.0), ("cosine.margin", 0.3)] {
        let loss = CosineEmbeddingLossConfig::new().with_margin(margin).init();
        check(name, |[a, b]: &[Tensor<2>; 2], r| loss.forward_with_reduction(a, b, &pairs, r));
    }
    let config = TripletMarginLossConfig::new;
    for (name, config) in [
        ("triplet", config()),
        ("triplet.l1", config().with_margin(2.5).with_p(1.0)),
        ("triplet.swap", config().with_p(3.0).with_swap(true).with_eps(1e-4)),
    ] {
        let loss = config.init();
        check(name, |[a, p, n]: &[Tensor<2>; 3], r| loss.forward(a, p, n, r));
    }
    let loss = config().with_swap(true).init();
    let distance = |a: &Tensor<2>, b: &Tensor<2>| -> Tensor<1> {
        linalg::cosine_similarity(a, b, 1, Some(1e-8)).neg().add_scalar(1).squeeze_dim(1)
    };
    check("triplet.distance", |[a, p, n]: &[Tensor<2>; 3], r| {
        r.apply(loss.forward_with_distance(a, p, n, distance))
    });
}

#[test]
fn sequences() {
    let [spelt, shifted] = ["spelt", "shifted"].map(tensor::<2, Int>);
    let [steps, lengths] = ["steps", "lengths"].map(tensor::<1, Int>);
    for (name, targets, blank) in [("ctc", spelt, 0), ("ctc.blank", shifted, 3)] {
        let loss = CTCLossConfig::new().with_blank(blank).with_zero_infinity(true).init();
        check(name, |[x]: &[Tensor<3>; 1], r| {
            // PyTorch's gradient of `ctc_loss` is by the logits behind the logarithms it is given.
            loss.forward_with_reduction(
                kiln_tensor::activation::log_softmax(x, 2),
                &targets,
                &steps,
                &lengths,
                r,
            )
        });
    }
}

#[test]
fn focal() {
    let hard: Tensor<2, Int> = tensor("hard");
    let config = SigmoidFocalLossConfig::new;
    for (name, config) in [
        ("sigmoid_focal", config()),
        ("sigmoid_focal.options", config().with_alpha(None).with_gamma(1.5)),
    ] {
        let loss = config.init();
        check(name, |[x]: &[Tensor<2>; 1], r| loss.forward(x, &hard, r));
    }
    let (rows, config) = (tensor::<1, Int>("rows"), FocalLossConfig::new);
    for (name, config) in
        [("focal", config()), ("focal.options", config().with_weights(weights()).with_gamma(0.5))]
    {
        let loss = config.init(&cpu());
        check(name, |[x]: &[Tensor<2>; 1], r| loss.forward(x, &rows, r));
    }
}

#[test]
fn overlaps() {
    let region: Tensor<4, Int> = tensor("region");
    let tversky = TverskyLossConfig::new().with_alpha(0.3).with_beta(0.7).init();
    check("tversky", |[x]: &[Tensor<4>; 1], r| tversky.forward(x, &region, r));
    for (name, smooth) in [("dice", 1.0), ("dice.smooth", 1e-3)] {
        let loss = DiceLossConfig::new().with_smooth(smooth).init();
        check(name, |[x]: &[Tensor<4>; 1], r| loss.forward(x, &region, r));
    }
}

#[test]
fn contrasts() {
    let info = |temperature| InfoNceLossConfig::new().with_temperature(temperature).init();
    check("info_nce", |[a, b]: &[Tensor<2>; 2], r| info(0.1).forward(a, b, r));
    check("info_nce.more", |[a, b]: &[Tensor<2>; 2], r| info(0.7).forward(a, b, r));
    let nt_xent = NtXentLossConfig::new().init();
    check("nt_xent", |[a, b]: &[Tensor<2>; 2], r| nt_xent.forward(a, b, r));
    // The scale is of another rank than the embeddings.
    let [a, b] = ["clip.x0", "clip.x1"].map(|name| tensor::<2, _>(name).require_grad());
    let scale = tensor::<1, kiln_tensor::Float>("clip.x2").require_grad();
    let loss = ClipLoss::new().forward(&a, &b, &scale, Reduction::Mean);
    let grads = loss.backward();
    let near = Tolerance::<f32>::rel_abs(1e-5, 1e-5);
    let expected = |name: &str| FIXTURE.get(&format!("clip.mean.{name}")).unwrap();
    loss.to_data().assert_approx_eq(expected("y"), near);
    a.grad(&grads).unwrap().to_data().assert_approx_eq(expected("dx0"), near);
    b.grad(&grads).unwrap().to_data().assert_approx_eq(expected("dx1"), near);
    scale.grad(&grads).unwrap().to_data().assert_approx_eq(expected("dx2"), near);
}

#[test]
fn losses_without_reduction_keep_the_shape() {
    let x = Tensor::<3>::zeros([2, 3, 4], &cpu());
    let shape = [2, 3, 4];
    assert_eq!(MseLoss::new().forward_no_reduction(&x, &x).dims(), shape);
    assert_eq!(L1Loss::new().forward_no_reduction(&x, &x).dims(), shape);
    assert_eq!(SmoothL1LossConfig::new().init().forward(&x, &x).dims(), shape);
    let loss = SmoothL1LossConfig::new().init();
    assert_eq!(loss.forward_reduce_dims(&x, &x, &[1, -1]).dims(), [2, 1, 1]);
    assert_eq!(LpLossConfig::l2().forward_reduce_dims(&x, &x, &[0]).dims(), [1, 3, 4]);
    let loss = BinaryCrossEntropyLossConfig::new().init(&cpu());
    assert_eq!(loss.forward_no_reduction(&x, &x).dims(), shape);
    let loss = DiceLossConfig::new().init();
    assert_eq!(loss.forward_no_reduction(&x, &x).dims(), [2, 3]);
}

#[test]
fn extreme_logits_have_finite_losses_and_gradients() {
    let hard = Tensor::<2, Int>::from([[0, 1], [1, 0]]);
    let x = Tensor::<2>::from([[1e4, -1e4], [1e4, -1e4]]).require_grad();
    let finite = |loss: Tensor<1>| {
        let grad = x.grad(&loss.backward()).unwrap();
        assert!(grad.to_data().iter::<f32>().all(f32::is_finite), "{grad}");
        assert!(loss.into_scalar::<f32>().is_finite());
    };
    finite(BinaryCrossEntropyLossConfig::new().with_logits(true).init(&cpu()).forward(&x, &hard));
    finite(SigmoidFocalLossConfig::new().init().forward(&x, &hard, Reduction::Mean));
    let rows = Tensor::<1, Int>::from([0, 1]);
    finite(FocalLossConfig::new().init(&cpu()).forward(&x, &rows, Reduction::Mean));
    finite(NtXentLossConfig::new().init().forward(&x, &x, Reduction::Mean));
}

#[test]
fn weights_of_a_loss_move_and_are_saved_with_a_model() {
    let mut loss = NllLossConfig::new().with_weights(Some(vec![1.0, 2.0])).init(&cpu());
    let paths: Vec<_> = loss.named_buffers().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["weights"]);
    loss.to_device(&Device::reference()).unwrap();
    let x = Tensor::<2>::zeros([1, 2], &Device::reference());
    let target = Tensor::<1, Int>::from_data([1i64], &Device::reference());
    assert_eq!(loss.forward(x, target, Reduction::Sum).into_scalar::<f32>(), 0.0);
}

#[test]
fn losses_refuse_what_makes_no_sense() {
    let [wide, tall] = [[1, 3], [3, 1]].map(|shape| Tensor::<2>::zeros(shape, &cpu()));
    let text = |work: &dyn Fn()| guard(work).unwrap_err().to_string();
    let r = Reduction::Mean;
    for work in [
        &(|| drop(L1Loss::new().forward(&wide, &tall, r))) as &dyn Fn(),
        &|| drop(MseLoss::new().forward(&wide, &tall, r)),
        &|| drop(HuberLossConfig::new(1.0).init().forward(&wide, &tall, r)),
        &|| drop(KLDivLossConfig::new().init().forward(&wide, &tall, r)),
        &|| drop(BinaryCrossEntropyLossConfig::new().init(&cpu()).forward(&wide, &tall)),
        &|| drop(NtXentLossConfig::new().init().forward(&wide, &tall, r)),
        &|| drop(DiceLossConfig::new().init().forward(&wide, &tall, r)),
    ] {
        assert!(text(work).contains("one shape"), "{}", text(work));
    }
    for (part, work) in [
        (
            "delta must be positive",
            &(|| {
                HuberLossConfig::new(0.0).init();
            }) as &dyn Fn(),
        ),
        ("beta must not", &|| {
            SmoothL1LossConfig::new().with_beta(-1.0).init();
        }),
        ("p is 1 or 2", &|| {
            MultiMarginLossConfig::new().with_p(3).init();
        }),
        ("temperature", &|| {
            InfoNceLossConfig::new().with_temperature(0.0).init();
        }),
        ("needs logits", &|| {
            let config = BinaryCrossEntropyLossConfig::new().with_pos_weight(Some(vec![2.0]));
            drop(config.init(&cpu()));
        }),
        ("2 weights for 3 classes", &|| {
            let config = BinaryCrossEntropyLossConfig::new().with_weights(Some(vec![1.0, 2.0]));
            drop(config.init(&cpu()).forward(&wide, &wide));
        }),
        ("a variance is negative", &|| {
            let loss = GaussianNLLLossConfig::new().init();
            drop(loss.forward(&wide, &wide, &wide - 1.0, Reduction::Sum));
        }),
        ("expected [n, classes, ..]", &|| {
            let targets = Tensor::<1, Int>::from([0, 1]);
            drop(NllLossConfig::new().init(&cpu()).forward(&wide, targets, Reduction::Sum));
        }),
        ("a key for each query", &|| {
            drop(InfoNceLossConfig::new().init().forward(&tall, tall.narrow(0, 0, 1), r));
        }),
    ] {
        assert!(text(work).contains(part), "{}", text(work));
    }
}
