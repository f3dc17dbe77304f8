//! `#[derive(Module)]`: which parameters a model has, under which paths, and what can be done with
//! all of them at once.

extern crate kiln_nn as kiln;

use std::cell::RefCell;
use std::marker::PhantomData;

use kiln_autograd::{Autograd, Gradients};
use kiln_nn::{
    BatchNorm2d, BatchNorm2dConfig, Buffer, Conv2d, Conv2dConfig, Dropout, DropoutConfig,
    Embedding, EmbeddingConfig, Gelu, Layer, LayerNorm, LayerNormConfig, Linear, LinearConfig,
    Module, MseLoss, Param, Path, Reduction, Relu, Sequential, Visitor,
};
use kiln_tensor::{AnyTensor, Device, Tensor, guard};

fn cpu() -> Device {
    Device::cpu()
}

fn linear() -> Linear {
    LinearConfig::new(2, 2).init(&cpu())
}

fn scale() -> Linear {
    LinearConfig::new(1, 1).with_bias(false).init(&cpu())
}

fn params(module: &impl Module) -> Vec<String> {
    module.named_params().into_iter().map(|(path, _)| path).collect()
}

#[derive(Module, Clone, Debug)]
struct Block {
    fc: Linear,
    norm: Option<LayerNorm>,
    dropout: Dropout,
}

fn block(norm: bool) -> Block {
    Block {
        fc: linear(),
        norm: norm.then(|| LayerNormConfig::new([2]).init(&cpu())),
        dropout: DropoutConfig::new(0.5).init(),
    }
}

#[test]
fn a_nested_model_has_the_paths_and_the_order_of_a_pytorch_state_dict() {
    #[derive(Module)]
    struct Model {
        wte: Embedding,
        layers: Vec<Block>,
        heads: [Linear; 2],
        pair: (Conv2d, BatchNorm2d),
        tail: Sequential,
        boxed: Box<Linear>,
        scale: f64,
    }
    let model = Model {
        wte: EmbeddingConfig::new(3, 2).init(&cpu()),
        layers: vec![block(true), block(false)],
        heads: [scale(), scale()],
        pair: (
            Conv2dConfig::new([1, 2], [3, 3]).with_bias(false).init(&cpu()),
            BatchNorm2dConfig::new(2).init(&cpu()),
        ),
        tail: Sequential::new().add(linear()).add(Relu::new()).add(scale()),
        boxed: Box::new(scale()),
        scale: 2.0,
    };
    // As PyTorch names `ModuleList`s of two heads and of a convolution and its normalisation.
    let expected = [
        "wte.weight",
        "layers.0.fc.weight",
        "layers.0.fc.bias",
        "layers.0.norm.weight",
        "layers.0.norm.bias",
        "layers.1.fc.weight",
        "layers.1.fc.bias",
        "heads.0.weight",
        "heads.1.weight",
        "pair.0.weight",
        "pair.1.weight",
        "pair.1.bias",
        "pair.1.running_mean",
        "pair.1.running_var",
        "pair.1.num_batches_tracked",
        "tail.0.weight",
        "tail.0.bias",
        "tail.2.weight",
        "boxed.weight",
    ];
    let state = model.state_dict();
    let paths: Vec<_> = state.iter().map(|(path, _)| path).collect();
    assert_eq!(paths, expected);
    let buffers: Vec<_> = model.named_buffers().into_iter().map(|(path, _)| path).collect();
    assert_eq!(buffers, expected[12..15]);
    assert_eq!(params(&model), [&expected[..12], &expected[15..]].concat());
    assert_eq!(model.num_params(), 6 + (6 + 4) + 6 + 2 + (18 + 4) + (6 + 1) + 1);
    assert_eq!(model.scale, 2.0);
}

#[test]
fn tuple_and_unit_structs() {
    #[derive(Module)]
    struct Pair(Linear, Gelu, Linear);
    #[derive(Module)]
    struct Unit;
    assert_eq!(params(&Pair(scale(), Gelu::new(), scale())), ["0.weight", "2.weight"]);
    assert_eq!(params(&Unit), [""; 0]);
}

#[test]
fn enums_add_no_name_of_their_own() {
    #[derive(Module)]
    enum Head {
        Linear(Linear),
        Deep { first: Linear, second: Linear },
        Identity,
    }
    #[derive(Module)]
    struct Model {
        head: Head,
    }
    let paths = |head| params(&Model { head });
    assert_eq!(paths(Head::Linear(scale())), ["head.0.weight"]);
    let deep = Head::Deep { first: scale(), second: scale() };
    assert_eq!(paths(deep), ["head.first.weight", "head.second.weight"]);
    assert_eq!(paths(Head::Identity), [""; 0]);
    let mut model = Model { head: Head::Deep { first: scale(), second: scale() } };
    model.set_trainable(false);
    assert!(model.named_params().iter().all(|(_, param)| param.tracked().is_none()));
}

#[test]
fn generics() {
    #[derive(Module)]
    struct Residual<M, const N: usize>
    where
        M: Clone,
    {
        inner: [M; N],
        kind: PhantomData<fn() -> M>,
    }
    #[derive(Module)]
    struct Named<'a, A = Gelu> {
        activation: A,
        fc: Linear,
        #[module(skip)]
        name: &'a str,
    }
    let model = Residual { inner: [scale(), scale(), scale()], kind: PhantomData };
    assert_eq!(params(&model), ["inner.0.weight", "inner.1.weight", "inner.2.weight"]);
    let model: Named = Named { activation: Gelu::new(), fc: scale(), name: "head" };
    assert_eq!(params(&model), ["fc.weight"]);
    assert_eq!(model.name, "head");
}

#[test]
fn skipped_and_renamed_fields_and_raw_identifiers() {
    #[derive(Module)]
    struct Model {
        r#type: Linear,
        #[module(name = "self")]
        own: Linear,
        /// Attributes of others do not matter.
        #[allow(dead_code)]
        #[module(skip)]
        frozen: Linear,
        #[module(skip)]
        log: RefCell<Vec<f32>>,
    }
    let model = Model { r#type: scale(), own: scale(), frozen: scale(), log: RefCell::default() };
    assert_eq!(params(&model), ["type.weight", "self.weight"]);
    assert!(model.log.borrow().is_empty());
    assert_eq!(model.num_params(), 2);
}

/// What a [`Sequential`] needs of a layer besides `Module`.
impl Layer for Block {
    fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
        self.fc.forward_any(x)
    }
    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }
}

#[test]
fn a_derived_model_nests_in_a_sequential() {
    let model = Sequential::new().add(block(false)).add(Sequential::new().add(scale()));
    assert_eq!(params(&model), ["0.fc.weight", "0.fc.bias", "1.0.weight"]);
    assert_eq!((model.len(), model.is_empty()), (2, false));
    assert_eq!(params(&model.clone()), params(&model));
}

#[test]
fn train_and_eval_reach_every_layer() {
    let x = Tensor::<2>::ones([64, 64], &cpu());
    let mut model =
        vec![Some(Sequential::new().add(Sequential::new().add(DropoutConfig::new(0.5).init())))];
    let zeros = |model: &[Option<Sequential>]| {
        let y: Tensor<2> = model[0].as_ref().unwrap().forward(&x);
        y.into_data().iter::<f32>().filter(|&y| y == 0.0).count()
    };
    let half = 1800..2300;
    assert!(half.contains(&zeros(&model)), "a new model is in training");
    model.eval();
    assert_eq!(zeros(&model), 0);
    model.train();
    assert!(half.contains(&zeros(&model)));
}

#[test]
fn evaluation_of_batch_norm_leaves_its_statistics() {
    let mut layer = BatchNorm2dConfig::new(2).init(&cpu());
    layer.eval();
    let x = Tensor::<4>::ones([2, 2, 3, 3], &cpu()) * 5.0;
    layer.forward(&x);
    assert_eq!(layer.num_batches_tracked.as_ref().unwrap().get().item::<i64>(), 0);
    assert_eq!(
        layer.running_mean.as_ref().unwrap().get().to_data().to_vec::<f32>().unwrap(),
        [0.0, 0.0]
    );
    let copy = layer.clone();
    layer.train();
    layer.forward(&x);
    assert_eq!(layer.num_batches_tracked.as_ref().unwrap().get().item::<i64>(), 1);
    let batches = copy.num_batches_tracked.unwrap().get().item::<i64>();
    assert_eq!(batches, 0, "a clone has its own");
}

fn gradients(model: &Block) -> Gradients {
    let x = Tensor::<2>::from([[1.0, 2.0]]).require_grad();
    let y = model.fc.forward(&x);
    model.norm.as_ref().unwrap().forward(&y).square().sum().backward()
}

fn reached(model: &Block, grads: &Gradients) -> usize {
    model.named_params().iter().filter(|(_, param)| grads.get(param).is_some()).count()
}

#[test]
fn a_frozen_model_gets_no_gradients_until_it_is_trained_again() {
    let mut model = block(true);
    assert_eq!(reached(&model, &gradients(&model)), 4);
    model.set_trainable(false);
    assert_eq!(reached(&model, &gradients(&model)), 0);
    assert_eq!(reached(&model.clone(), &gradients(&model)), 0, "a clone stays frozen");
    assert!(!model.clone().fc.weight.is_tracked());
    model.fc.set_trainable(true);
    assert_eq!(reached(&model, &gradients(&model)), 2, "only a part of it");
    model.set_trainable(true);
    assert_eq!(reached(&model, &gradients(&model)), 4);
}

#[test]
fn freezing_does_not_change_leaves_that_are_trained() {
    let mut model = block(true);
    let grads = gradients(&model);
    model.set_trainable(true);
    assert_eq!(reached(&model, &grads), 4, "gradients from before still belong to it");
}

#[test]
fn a_clone_has_gradients_of_its_own() {
    let model = block(true);
    let copy = model.clone();
    let grads = gradients(&model);
    assert_eq!((reached(&model, &grads), reached(&copy, &grads)), (4, 0));
    assert_eq!(reached(&copy, &gradients(&copy)), 4);
}

#[test]
fn a_model_moves_to_another_device_with_its_modes() {
    let (mut model, device) = (block(true), Device::reference());
    model.fc.set_trainable(false);
    model.to_device(&device).unwrap();
    for (path, param) in model.named_params() {
        assert_eq!(param.device(), device, "{path}");
        assert_eq!(param.tracked().is_some(), path.starts_with("norm"), "{path}");
    }
}

#[test]
fn paths_are_what_they_display() {
    struct Paths(Vec<String>);
    impl Visitor for Paths {
        fn param(&mut self, path: &Path<'_>, _: &AnyTensor) {
            let text = path.to_string();
            assert!(path.is(&text) && format!("{path:?}") == format!("{text:?}"));
            // Everything that is nearly the path.
            for cut in 0..text.len() {
                assert!(!path.is(&text[..cut]) && !path.is(&text[cut + 1..]), "{text} at {cut}");
            }
            for near in [format!("{text}."), format!(".{text}"), format!("x.{text}")] {
                assert!(!path.is(&near), "{near} is not {text}");
            }
            self.0.push(text);
        }
    }
    let mut paths = Paths(Vec::new());
    let model: Vec<_> = (0..12).map(|_| (linear(), Some(scale()))).collect();
    model.visit(&Path::ROOT, &mut paths);
    assert_eq!(paths.0.len(), 36);
    model.visit(&Path::ROOT.child("a.b").child("c"), &mut paths);
    assert_eq!(paths.0.last().unwrap(), "a.b.c.11.1.weight");

    let root = Path::ROOT;
    assert!(root.is("") && !root.is("x") && root.to_string().is_empty());
    let one = root.index(1);
    assert!(one.is("1") && !one.is("01") && !one.is("+1") && !one.is("11"));
}

#[test]
fn parameters_and_buffers_print_their_tensors() {
    let param = Param::new(Tensor::<1>::from([1.0, 2.0]));
    assert_eq!(format!("{param:?}"), format!("Param({:?})", *param));
    assert_eq!(format!("{param}"), format!("{}", *param));
    let buffer = Buffer::new(Tensor::<1>::from([1.0, 2.0]));
    assert_eq!(format!("{buffer:?}"), format!("Buffer({:?})", buffer.get()));
    assert_eq!(format!("{buffer}"), format!("{}", buffer.get()));
}

#[test]
fn sequential_without_layers_is_the_identity() {
    let x = Tensor::<2>::from([[1.0, 2.0]]);
    let y: Tensor<2> = Sequential::new().forward(&x);
    assert_eq!(y.to_data(), x.to_data());
    assert!(Sequential::new().is_empty());
}

#[test]
fn layers_refuse_what_makes_no_sense() {
    for p in [-0.1, 1.0, f64::NAN] {
        assert!(guard(|| DropoutConfig::new(p).init()).is_err(), "{p}");
    }
    for groups in [0, 2, 4] {
        let config = Conv2dConfig::new([3, 4], [1, 1]).with_groups(groups);
        assert!(guard(|| config.init(&cpu())).is_err(), "{groups} groups");
    }
    let [column, row] = [[3, 1], [1, 3]].map(|shape| Tensor::<2>::zeros(shape, &cpu()));
    let error =
        guard(|| MseLoss::new().forward(&column, &row, Reduction::Mean)).unwrap_err().to_string();
    assert!(error.contains("one shape"), "{error}");
}

#[test]
fn a_channel_without_variance_has_no_negative_running_variance() {
    let layer = BatchNorm2dConfig::new(64).with_momentum(1.0).init(&cpu());
    for value in [0.0, 0.1, 3.3, 1e4] {
        layer.forward(&Tensor::<4>::full([2, 64, 3, 3], value, &cpu()));
        let var = layer.running_var.as_ref().unwrap().get().to_data();
        assert!(var.iter::<f32>().all(|var| (0.0..1e-9).contains(&var)), "{value}: {var}");
    }
}
