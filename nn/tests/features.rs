//! What can be done with a whole module or a part of it: freezing by pattern, groups, dtypes, tied
//! weights, walking over its layers.

extern crate kiln_nn as kiln;

use kiln_autograd::{Autograd, Gradients, checkpoint};
use kiln_nn::{
    BatchNorm2d, BatchNorm2dConfig, Dropout, DropoutConfig, Embedding, EmbeddingConfig, Linear,
    LinearConfig, Module, ParamGroups, Path, PathPattern, Relu, Sequential, StateDict, Visitor,
    VisitorMut,
};
use kiln_tensor::op::{Rule, SgdRule, Update};
use kiln_tensor::{AnyTensor, DType, Device, Int, Tensor, TensorData, guard, module, update};

fn cpu() -> Device {
    Device::cpu()
}

fn linear(inputs: usize, outputs: usize) -> Linear {
    LinearConfig::new(inputs, outputs).init(&cpu())
}

#[derive(Module, Clone, Debug)]
struct Net {
    body: Vec<Linear>,
    norm: BatchNorm2d,
    dropout: Dropout,
    head: Sequential,
}

fn net() -> Net {
    Net {
        body: vec![linear(2, 3), linear(3, 2)],
        norm: BatchNorm2dConfig::new(4).init(&cpu()),
        dropout: DropoutConfig::new(0.1).init(),
        head: Sequential::new().add(linear(2, 2)).add(Relu::new()),
    }
}

fn trained(module: &impl Module) -> Vec<String> {
    let params = module.named_params().into_iter();
    params.filter(|(_, param)| param.tracked().is_some()).map(|(path, _)| path).collect()
}

#[test]
fn freezing_takes_the_parameters_that_a_pattern_matches() {
    let mut model = net();
    let all = model.num_params();
    assert_eq!(model.freeze("body.*.weight").unwrap(), 2);
    let left =
        ["body.0.bias", "body.1.bias", "norm.weight", "norm.bias", "head.0.weight", "head.0.bias"];
    assert_eq!(trained(&model), left);
    assert_eq!((model.num_params(), model.num_trainable_params()), (all, all - 12));
    assert_eq!(model.freeze("**").unwrap(), 8);
    assert_eq!(trained(&model), [""; 0]);
    assert_eq!(model.unfreeze("head.**").unwrap(), 2);
    assert_eq!(trained(&model), ["head.0.weight", "head.0.bias"]);
}

#[test]
fn a_pattern_that_matches_nothing_is_an_error_and_changes_nothing() {
    let mut model = net();
    for pattern in ["", "body", "encoder.**", "norm.running_mean"] {
        let error = model.freeze(pattern).unwrap_err().to_string();
        let expected = format!(
            "path pattern: `{pattern}` matches none of 8 parameters (body.0.weight, body.0.bias, \
             body.1.weight, ..)"
        );
        assert_eq!(error, expected);
    }
    assert_eq!(trained(&model).len(), 8);
}

#[test]
fn a_parameter_belongs_to_the_first_group_that_it_fits() {
    let groups = ParamGroups::new().with("**.bias", 1).with("head.**", 2).with("**", 3);
    groups.check(&net()).unwrap();
    assert_eq!(groups.get("head.0.bias"), Some(&1));
    assert_eq!(groups.get("head.0.weight"), Some(&2));
    assert_eq!((groups.get("body.0.weight"), groups.index("body.0.weight")), (Some(&3), Some(2)));
    assert_eq!((groups.len(), groups.is_empty()), (3, false));
    let error = groups.clone().with("body.*.*", 4).check(&net()).unwrap_err().to_string();
    assert!(error.contains("all that `body.*.*` matches is in groups before it"), "{error}");
    assert!(groups.with("tail", 4).check(&net()).unwrap_err().to_string().contains("`tail`"));
    assert_eq!(PathPattern::new("*.weight").select(&linear(1, 1)).ok(), None);
    assert_eq!(PathPattern::new("w*").select(&linear(1, 1)).unwrap(), ["weight"]);
}

#[test]
fn dtypes_change_floats_only_and_keep_what_is_trained() {
    let mut model = net();
    model.freeze("body.**").unwrap();
    let before = trained(&model);
    model.to_dtype(DType::F64);
    assert_eq!(trained(&model), before);
    assert!(model.named_params().iter().all(|(_, param)| param.dtype() == DType::F64));
    assert_eq!(model.norm.running_mean.as_ref().unwrap().get().dtype(), DType::F64);
    assert_eq!(model.norm.num_batches_tracked.as_ref().unwrap().get().dtype(), DType::I64);
    let x = Tensor::<2>::ones([3, 2], (&cpu(), DType::F64));
    let y: Tensor<2> = model.head.forward(&x);
    assert_eq!(y.dtype(), DType::F64);
    assert_eq!(y.sum().backward().len(), 2);
    let error = guard(|| net().to_dtype(DType::I64)).unwrap_err().to_string();
    assert!(error.contains("parameters are floats"), "{error}");
}

#[test]
fn layers_are_named_from_the_outside_in() {
    let names = [
        ("", "Net"),
        ("body.0", "Linear"),
        ("body.1", "Linear"),
        ("norm", "BatchNorm"),
        ("dropout", "Dropout"),
        ("head", "Sequential"),
        ("head.0", "Linear"),
        ("head.1", "Relu"),
    ];
    assert_eq!(net().named_modules(), names.map(|(path, name)| (path.to_string(), name)));
}

#[test]
fn a_visitor_knows_which_module_it_is_in() {
    #[derive(Default)]
    struct Owners {
        stack: Vec<&'static str>,
        seen: Vec<String>,
    }
    impl Visitor for Owners {
        fn enter_module(&mut self, _: &Path<'_>, name: &'static str) {
            self.stack.push(name);
        }
        fn exit_module(&mut self, _: &Path<'_>, name: &'static str) {
            assert_eq!(self.stack.pop(), Some(name));
        }
        fn param(&mut self, path: &Path<'_>, _: &AnyTensor) {
            self.seen.push(format!("{path} in {}", self.stack.join(" of ")));
        }
    }
    let mut owners = Owners::default();
    net().visit(&Path::ROOT, &mut owners);
    assert_eq!(owners.seen[0], "body.0.weight in Net of Linear");
    assert_eq!(owners.seen[6], "head.0.weight in Net of Sequential of Linear");
    assert!(owners.stack.is_empty());
}

/// A model of language whose head is the table of its tokens, unless it has one of its own.
#[derive(Module, Clone, Debug)]
#[module(tied("lm_head.weight", to = "decoder.wte.weight"))]
struct Lm {
    decoder: Decoder,
    lm_head: Option<Linear>,
}

#[derive(Module, Clone, Debug)]
struct Decoder {
    wte: Embedding,
    fc: Linear,
}

impl Lm {
    fn new(tied: bool) -> Self {
        let decoder = Decoder { wte: EmbeddingConfig::new(5, 3).init(&cpu()), fc: linear(3, 3) };
        let head = || LinearConfig::new(3, 5).with_bias(false).init(&cpu());
        Self { decoder, lm_head: (!tied).then(head) }
    }

    fn forward(&self, tokens: &Tensor<1, Int>) -> Tensor<2> {
        let x = self.decoder.fc.forward(&self.decoder.wte.forward::<1, 2>(tokens));
        match &self.lm_head {
            Some(head) => head.forward(&x),
            None => module::linear_activation(&x, &self.decoder.wte.weight, None, None),
        }
    }

    fn loss(&self) -> Tensor<1> {
        let tokens = Tensor::<1, Int>::from([0, 3, 3]);
        module::cross_entropy(self.forward(&tokens), &tokens).mean()
    }
}

fn paths(state: &StateDict) -> Vec<String> {
    state.iter().map(|(path, _)| path.to_string()).collect()
}

const TIED: [&str; 4] =
    ["decoder.wte.weight", "decoder.fc.weight", "decoder.fc.bias", "lm_head.weight"];

#[test]
fn a_tied_weight_is_one_parameter_with_two_names() {
    let model = Lm::new(true);
    let state = model.state_dict();
    assert_eq!(paths(&state), TIED);
    assert_eq!(state.get(TIED[0]), state.get(TIED[3]));
    let params: Vec<_> = model.named_params().into_iter().map(|(path, _)| path).collect();
    assert_eq!(params, TIED[..3]);
    assert_eq!(model.num_params(), 5 * 3 + 3 * 3 + 3);
    assert_eq!(paths(&Lm::new(false).state_dict()), TIED);
    assert_eq!(Lm::new(false).num_params(), 2 * 5 * 3 + 3 * 3 + 3);
}

#[test]
fn gradients_of_both_uses_add_up() {
    let (tied, mut apart) = (Lm::new(true), Lm::new(false));
    apart.load_state_dict(&tied.state_dict());
    let grads = tied.loss().backward();
    assert_eq!(grads.len(), 3);
    let both = tied.decoder.wte.weight.grad(&grads).unwrap();
    let grads = apart.loss().backward();
    let head = &apart.lm_head.as_ref().unwrap().weight;
    let sum = apart.decoder.wte.weight.grad(&grads).unwrap() + head.grad(&grads).unwrap();
    both.to_data().assert_approx_eq(&sum.to_data(), kiln_tensor::Tolerance::<f32>::absolute(1e-6));
}

/// Gradient descent, and how many parameters it updated.
struct Descent(Gradients, usize);

impl VisitorMut for Descent {
    fn param(&mut self, _: &Path<'_>, param: &mut AnyTensor) {
        let Some(grad) = self.0.remove(param) else { return };
        let sgd = Update::new(Rule::Sgd(SgdRule::new(0.5)));
        update(&sgd.into(), &grad, &mut [param]).unwrap();
        self.1 += 1;
    }
}

#[test]
fn an_update_reaches_both_uses_once() {
    let mut model = Lm::new(true);
    let before = model.decoder.wte.weight.detach();
    let grads = model.loss().backward();
    let grad = model.decoder.wte.weight.grad(&grads).unwrap();
    let mut descent = Descent(grads, 0);
    model.visit_mut(&Path::ROOT, &mut descent);
    assert_eq!(descent.1, 3);
    let expected = before - grad * 0.5;
    assert_eq!(model.decoder.wte.weight.to_data(), expected.to_data());
    let state = model.state_dict();
    assert_eq!(
        (state.get(TIED[0]), state.get(TIED[3])),
        (Some(&expected.to_data()), state.get(TIED[0]))
    );
    // Training goes on.
    let first = model.loss().into_scalar::<f32>();
    for _ in 0..50 {
        let grads = model.loss().backward();
        model.visit_mut(&Path::ROOT, &mut Descent(grads, 0));
    }
    assert!(model.loss().into_scalar::<f32>() < first / 2.0);
}

#[test]
fn a_segment_that_is_computed_again_reaches_a_tied_weight() {
    let model = Lm::new(true);
    let tokens = Tensor::<1, Int>::from([0, 3, 3]);
    let weight = model.decoder.wte.weight.val();
    let fc = (model.decoder.fc.weight.val(), model.decoder.fc.bias.as_ref().unwrap().val());
    let embedded = model.decoder.wte.forward::<1, 2>(&tokens);
    let logits = checkpoint(
        move |x: &Tensor<2>| {
            let x = module::linear_activation(x, &fc.0, Some(&fc.1), None);
            module::linear_activation(&x, &weight, None, None)
        },
        &embedded,
    );
    let loss = module::cross_entropy(logits, &tokens).mean();
    let (grads, plain) = (loss.backward(), model.loss().backward());
    for (path, param) in model.named_params() {
        let [again, kept] = [&grads, &plain].map(|grads| grads.get(&param).unwrap().to_data());
        assert_eq!(again.unwrap(), kept.unwrap(), "{path}");
    }
}

fn without(state: &StateDict, path: &str) -> StateDict {
    let mut rest = StateDict::default();
    for (name, data) in state.iter().filter(|(name, _)| *name != path) {
        rest.insert(name, data.clone());
    }
    rest
}

#[test]
fn one_of_the_names_is_enough_to_load() {
    let from = Lm::new(true);
    let state = from.state_dict();
    for missing in ["decoder.wte.weight", "lm_head.weight", ""] {
        let mut model = Lm::new(true);
        let report = model.load_state_dict(&without(&state, missing));
        assert!(report.is_complete(), "without {missing}: {report}");
        assert_eq!(model.state_dict().get("lm_head.weight"), state.get("lm_head.weight"));
        assert!(model.decoder.wte.weight.is_require_grad());
    }
    let mut neither = without(&without(&state, "decoder.wte.weight"), "lm_head.weight");
    let report = Lm::new(true).load_state_dict(&neither);
    assert_eq!(report.missing, ["decoder.wte.weight"]);
    neither.insert("lm_head.weight", TensorData::from([[0f32; 2]; 2]));
    let report = Lm::new(true).load_state_dict(&neither);
    assert_eq!((report.missing.len(), report.misshapen.len()), (1, 1), "{report}");
}

#[test]
fn a_tied_model_goes_through_a_file() {
    let path = std::env::temp_dir().join(format!("kiln_tied_{}.safetensors", std::process::id()));
    let from = Lm::new(true);
    from.save_file(&path).unwrap();
    let (mut tied, mut apart) = (Lm::new(true), Lm::new(false));
    tied.load_file(&path).unwrap();
    apart.load_file(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(tied.loss().to_data(), from.loss().to_data());
    assert_eq!(apart.loss().to_data(), from.loss().to_data());
}

#[test]
fn a_tied_model_is_frozen_moved_and_converted_as_one() {
    let mut model = Lm::new(true);
    assert_eq!(model.freeze("decoder.wte.*").unwrap(), 1);
    assert_eq!(model.loss().backward().len(), 2);
    model.to_dtype(DType::F64);
    model.to_device(&Device::reference()).unwrap();
    let state = model.state_dict();
    assert_eq!(state.get("lm_head.weight").unwrap().dtype(), DType::F64);
    assert_eq!(state.get("lm_head.weight"), state.get("decoder.wte.weight"));
}

#[test]
fn tying_to_what_is_not_there_is_an_error() {
    #[derive(Module)]
    #[module(tied("head.weight", to = "table.wieght"))]
    struct Wrong {
        table: Linear,
    }
    let error = guard(|| Wrong { table: linear(1, 1) }.state_dict()).unwrap_err().to_string();
    assert_eq!(error, "tied: there is no parameter table.wieght to tie head.weight to");
}

#[test]
fn the_value_of_a_parameter_is_its_leaf_but_a_clone_is_not() {
    let layer = linear(2, 2);
    let (value, clone) = (layer.weight.val(), layer.weight.clone());
    let grads = value.square().sum().backward();
    assert!(layer.weight.grad(&grads).is_some() && clone.grad(&grads).is_none());
}
