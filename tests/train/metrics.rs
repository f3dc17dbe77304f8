//! Metrics over batches of uneven sizes are those of the whole set: `fixtures/metrics.py` computes
//! them at once, by their definitions.

use std::path::Path;
use std::sync::LazyLock;

use kiln::nn::StateDict;
use kiln::prelude::*;
use kiln::tensor::Kind;
use kiln::train::{
    Accuracy, Auroc, Average, ClassMetric, ConfusionMatrix, Metric, Perplexity, Regression, Step,
    TopK,
};

static FIXTURE: LazyLock<StateDict> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    StateDict::load(folder.join("metrics.safetensors")).unwrap()
});

fn tensor<const D: usize, K: Kind>(name: &str) -> Tensor<D, K> {
    Tensor::from_data(FIXTURE.get(name).unwrap().clone(), &Device::cpu())
}

fn numbers(name: &str) -> Vec<f64> {
    FIXTURE.get(name).unwrap().to_vec().unwrap()
}

fn loss() -> Tensor<1> {
    Tensor::from([0.0])
}

/// The value after batches of these sizes again and again; half way, the metric is saved and loaded
/// into a new one.
fn value<const D: usize, K: Kind, const E: usize, L: Kind>(
    metric: impl Metric + Clone,
    output: &Tensor<D, K>,
    target: &Tensor<E, L>,
) -> f64 {
    let (fresh, mut metric) = (metric.clone(), metric);
    let (mut start, len) = (0, target.dims()[0]);
    for size in [1, 30, 7, 64, 3].into_iter().cycle() {
        let size = size.min(len - start);
        if size == 0 {
            break;
        }
        let (output, target) = (output.narrow(0, start, size), target.narrow(0, start, size));
        metric.update(&Step::new(loss()).with_output(&output, &target)).unwrap();
        start += size;
        if start > len / 2 {
            let state = metric.state();
            metric = fresh.clone();
            metric.load_state(&state).unwrap();
        }
    }
    metric.value().unwrap_or(f64::NAN)
}

#[track_caller]
fn assert_close(name: &str, actual: f64, expected: f64) {
    let tolerance = 1e-9 * expected.abs();
    assert!((actual - expected).abs() <= tolerance, "{name}: {actual}, not {expected}");
}

#[test]
fn accuracies_are_those_of_the_whole_set() {
    let (logits, labels) = (tensor::<2, Float>("logits"), tensor::<1, Int>("labels"));
    assert_close("accuracy", value(Accuracy::new(), &logits, &labels), numbers("accuracy")[0]);
    let ignored = value(Accuracy::new(), &logits, &tensor::<1, Int>("ignored"));
    assert_close("ignored", ignored, numbers("accuracy_ignored")[0]);
    for k in [1, 2, 3] {
        let expected = numbers(&format!("top_{k}"))[0];
        assert_close("top-k", value(TopK::new(k), &logits, &labels), expected);
    }
    let (scores, binary) = (tensor::<1, Float>("scores"), tensor::<1, Int>("binary"));
    let expected = numbers("binary_accuracy")[0];
    assert_close("binary", value(Accuracy::new(), &scores, &binary), expected);
    // One score for each example, as a linear layer of one output gives it.
    let column: Tensor<2> = scores.unsqueeze_dim(1);
    assert_close("column", value(Accuracy::new(), &column, &binary), expected);
}

#[test]
fn precision_recall_and_f1_are_those_of_the_whole_set() {
    let (logits, labels) = (tensor::<2, Float>("logits"), tensor::<1, Int>("labels"));
    let made = [ClassMetric::precision, ClassMetric::recall, ClassMetric::f1];
    let (averages, of_one) = (numbers("averages"), numbers("class_1"));
    for (i, make) in made.into_iter().enumerate() {
        let all = [Average::Macro, Average::Weighted, Average::Micro];
        for (average, expected) in all.into_iter().zip(&averages[3 * i..]) {
            let metric = make(5).with_average(average);
            let name = format!("{average:?} {}", metric.name());
            assert_close(&name, value(metric, &logits, &labels), *expected);
        }
        let one = make(5).with_average(Average::Class(1));
        assert_close("class 1", value(one, &logits, &labels), of_one[i]);
    }
    let f1 = ClassMetric::f1(2).with_average(Average::Class(1)).with_threshold(0.5);
    let f1 = value(f1, &tensor::<1, Float>("scores"), &tensor::<1, Int>("binary"));
    assert_close("f1 above a threshold", f1, numbers("binary_f1_at_half")[0]);
}

#[test]
fn auroc_is_that_of_the_whole_set() {
    let (scores, binary) = (tensor::<1, Float>("scores"), tensor::<1, Int>("binary"));
    assert_close("auroc", value(Auroc::new(), &scores, &binary), numbers("auroc")[0]);
    let logits = tensor::<2, Float>("logits").slice(s![.., 0..4]);
    let labels = tensor::<1, Int>("labels");
    let actual = value(Auroc::multiclass(4), &logits, &labels);
    assert!((actual - numbers("auroc_macro")[0]).abs() < 1e-4, "ties of rounded softmax: {actual}");
}

#[test]
fn regression_errors_are_those_of_the_whole_set() {
    let (output, target) = (tensor::<2, Float>("output"), tensor::<2, Float>("target"));
    let made =
        [Regression::mae, Regression::mse, Regression::rmse, Regression::mape, Regression::r2];
    for make in made {
        let name = make().name();
        assert_close(&name, value(make(), &output, &target), numbers(&name)[0]);
    }
}

#[test]
fn perplexity_weighs_batches_by_their_size() {
    let (logits, labels) = (tensor::<2, Float>("logits"), tensor::<1, Int>("labels"));
    let mut perplexity = Perplexity::new();
    for (start, size) in [(0, 3), (3, 150), (153, 50)] {
        let (logits, labels) = (logits.narrow(0, start, size), labels.narrow(0, start, size));
        let loss = CrossEntropyLoss::new().forward(&logits, &labels);
        perplexity.update(&Step::new(loss).with_weight(size as f64)).unwrap();
    }
    let (actual, expected) = (perplexity.value().unwrap(), numbers("perplexity")[0]);
    assert!((actual - expected).abs() < 1e-5 * expected, "{actual}, not {expected}");
}

#[test]
fn a_confusion_matrix_is_a_metric() {
    let mut matrix = ConfusionMatrix::new(5);
    let (logits, labels) = (tensor::<2, Float>("logits"), tensor::<1, Int>("ignored"));
    matrix.update(&Step::new(loss()).with_output(&logits, &labels)).unwrap();
    assert_close("accuracy", matrix.accuracy(), numbers("accuracy_ignored")[0]);
    let mut copy = ConfusionMatrix::new(5);
    copy.load_state(&Metric::state(&matrix)).unwrap();
    assert_eq!(copy, matrix);
    assert!(copy.load_state(&[1.0]).is_err());
}

#[test]
fn a_network_that_says_the_same_of_all_classes_has_found_none() {
    let same = Tensor::<2>::zeros([4, 3], &Device::cpu());
    let labels = Tensor::<1, Int>::from([0, 1, 2, 0]);
    assert_eq!(value(TopK::new(1), &same, &labels), 0.0);
    assert_eq!(value(TopK::new(2), &(same * f32::NAN), &labels), 0.0);
}

#[test]
fn nothing_seen_is_nan() {
    assert!(Accuracy::new().value().unwrap().is_nan());
    assert!(ClassMetric::f1(3).value().unwrap().is_nan());
    assert!(Auroc::new().value().unwrap().is_nan());
    assert!(Regression::r2().value().unwrap().is_nan());
    assert!(Perplexity::new().value().unwrap().is_nan());
}

#[test]
fn wrong_inputs_are_errors_that_say_what_is_right() {
    let text = |metric: &mut dyn Metric, step: &Step| metric.update(step).unwrap_err().to_string();
    let missing = text(&mut Accuracy::new(), &Step::new(loss()));
    assert!(missing.contains("`accuracy` needs what the model gave"), "{missing}");

    let (logits, labels) = (Tensor::<2>::from([[1.0, 2.0]]), Tensor::<1, Int>::from([5]));
    let step = Step::new(loss()).with_output(&logits, &labels);
    let unknown = text(&mut ClassMetric::f1(2), &step);
    assert_eq!(unknown, "metric: `f1` has 2 classes, found class 5");
    assert!(text(&mut TopK::new(1), &step).contains("found class 5"));
    assert!(text(&mut ConfusionMatrix::new(2), &step).contains("found class 5"));
    assert!(text(&mut Auroc::new(), &step).contains("`Auroc::multiclass(classes)`"));

    let step = Step::new(loss()).with_output(&logits, Tensor::<1, Int>::from([0, 1, 1]));
    let shapes = text(&mut Accuracy::new(), &step);
    assert!(shapes.contains("[1, 2] and [3]"), "{shapes}");
    // [n, 1] with [n] would broadcast to [n, n] in silence.
    let column = Step::new(loss())
        .with_output(Tensor::<2>::from([[1.0], [2.0]]), Tensor::<1>::from([1.0, 2.0]));
    assert!(text(&mut Regression::mse(), &column).contains("the same shape"));
}
