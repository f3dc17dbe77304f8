//! Tables of vectors, and the layer of two inputs.

use kiln_autograd::Autograd;
use kiln_nn::{
    Bilinear, BilinearConfig, EmbeddingBag, EmbeddingBagConfig, EmbeddingBagMode, EmbeddingConfig,
    Module,
};
use kiln_tensor::{Int, Tensor, guard};

use super::{check, cpu, floats, ints, layer};

#[test]
fn embedding() {
    let new = EmbeddingConfig::new;
    layer("embedding.padding", new(5, 4).with_padding_idx(1).init(&cpu()));
    layer("embedding.max_norm", new(5, 4).with_max_norm(1.5).init(&cpu()));
    let one = new(5, 4).with_max_norm(2.0).with_norm_type(1.0);
    layer("embedding.max_norm.one", one.init(&cpu()));
}

#[test]
fn the_vector_of_the_padding_starts_as_zeros() {
    let layer = EmbeddingConfig::new(3, 2).with_padding_idx(1).init(&cpu());
    assert_eq!(layer.weight.narrow(0, 1, 1).to_vec::<f32>(), [0.0, 0.0]);
    assert!(guard(|| EmbeddingConfig::new(3, 2).with_padding_idx(3).init(&cpu())).is_err());
}

#[test]
fn a_table_is_shortened_and_stays_trained() {
    let mut layer = EmbeddingConfig::new(2, 2).with_max_norm(5.0).init(&cpu());
    layer.weight = Tensor::from([[6.0, 8.0], [0.3, 0.4]]).into();
    layer.renormalize();
    let weight = layer.weight.to_vec::<f32>();
    for (found, expected) in weight.iter().zip([3.0, 4.0, 0.3, 0.4]) {
        assert!((found - expected).abs() < 1e-5, "{weight:?}");
    }
    assert!(layer.weight.is_tracked());
    layer.set_trainable(false);
    layer.renormalize();
    assert!(!layer.weight.is_tracked());
}

fn bag(case: &str, config: EmbeddingBagConfig) {
    check(case, &mut config.init(&cpu()), |layer: &EmbeddingBag, x| {
        let result = match x {
            [x] => layer.forward(&ints(x), None),
            [x, second] if second.dtype().is_int() => {
                layer.forward_offsets(&ints(x), &ints(second), None)
            }
            [x, weights] => layer.forward(&ints(x), Some(&floats(weights))),
            [x, offsets, weights] => {
                layer.forward_offsets(&ints(x), &ints(offsets), Some(&floats(weights)))
            }
            _ => panic!("{} inputs", x.len()),
        };
        result.into_any()
    });
}

#[test]
fn embedding_bag() {
    let new = || EmbeddingBagConfig::new(5, 4);
    for (name, mode) in [
        ("sum", EmbeddingBagMode::Sum),
        ("mean", EmbeddingBagMode::Mean),
        ("max", EmbeddingBagMode::Max),
    ] {
        let plain = new().with_mode(mode);
        let padded = plain.clone().with_padding_idx(1);
        for (options, config) in [("", plain), (".padding", padded)] {
            bag(&format!("embedding_bag.{name}{options}"), config.clone());
            bag(&format!("embedding_bag.{name}{options}.offsets"), config);
        }
    }
    let sum = new().with_mode(EmbeddingBagMode::Sum);
    bag("embedding_bag.weights", sum.clone());
    bag("embedding_bag.weights.offsets", sum);
    bag("embedding_bag.max_norm", new().with_max_norm(1.5));
}

#[test]
fn bags_without_indices_are_zeros() {
    let layer = EmbeddingBagConfig::new(3, 2).with_mode(EmbeddingBagMode::Max).init(&cpu());
    let empty = Tensor::<1, Int>::zeros([0], &cpu());
    let y = layer.forward_offsets(&empty, &Tensor::from([0i64, 0]), None);
    assert_eq!(y.to_vec::<f32>(), [0.0; 4]);
    let grads = y.sum().backward();
    assert_eq!(layer.weight.grad(&grads).unwrap().to_vec::<f32>(), [0.0; 6]);
    assert_eq!(layer.forward_offsets(&empty, &empty, None).dims(), [0, 2]);
}

#[test]
fn wrong_bags_are_refused() {
    let layer = EmbeddingBagConfig::new(3, 2).init(&cpu());
    let indices = Tensor::<1, Int>::from([0i64, 1, 2]);
    for offsets in [[1i64, 2], [0, 4], [0, -1]] {
        let offsets = Tensor::<1, Int>::from(offsets);
        let error = guard(|| layer.forward_offsets(&indices, &offsets, None)).unwrap_err();
        assert!(error.to_string().contains("rise from 0 to at most 3"), "{error}");
    }
    let weights = Tensor::<2>::ones([1, 3], &cpu());
    let indices = indices.reshape([1, 3]);
    let error = guard(|| layer.forward(&indices, Some(&weights))).unwrap_err().to_string();
    assert_eq!(error, "embedding_bag: weights need the mode Sum, found Mean");
}

#[test]
fn bilinear() {
    let mut layer = BilinearConfig::new(4, 3, 5).init(&cpu());
    check("bilinear", &mut layer, |layer: &Bilinear, x| {
        layer.forward(&floats::<2>(&x[0]), &floats(&x[1])).into_any()
    });
    let mut plain = BilinearConfig::new(4, 3, 2).with_bias(false).init(&cpu());
    check("bilinear.rank3", &mut plain, |layer: &Bilinear, x| {
        layer.forward(&floats::<3>(&x[0]), &floats(&x[1])).into_any()
    });
    let [x1, x2] = [[2, 4], [3, 3]].map(|shape| Tensor::<2>::zeros(shape, &cpu()));
    let error = guard(|| layer.forward(&x1, &x2)).unwrap_err().to_string();
    assert!(error.contains("expected [.., 4] and [.., 3]"), "{error}");
}
