//! Layers under names.

use kiln_nn::{Conv2dConfig, Flatten, Linear, LinearConfig, Module, ModuleDict, Relu, Sequential};
use kiln_tensor::guard;

use super::{check, cpu};

fn linear(outputs: usize) -> Linear {
    LinearConfig::new(3, outputs).init(&cpu())
}

#[test]
fn a_sequential_has_the_names_that_it_is_given() {
    // The flattening has no parameters, so its name does not matter.
    let mut model = Sequential::new()
        .add_named("conv1", Conv2dConfig::new([4, 3], [2, 2]).init(&cpu()))
        .add(Relu::new())
        .add_named("flat", Flatten::new())
        .add_named("head", linear(2));
    check("sequential.named", &mut model, |model, x| kiln_nn::Layer::forward_any(model, &x[0]));
    let names: Vec<_> = model.state_dict().iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(names, ["conv1.weight", "conv1.bias", "head.weight", "head.bias"]);
    let error = guard(|| model.add_named("head", linear(2))).unwrap_err().to_string();
    assert_eq!(error, "sequential: there is a layer \"head\" already");
}

#[test]
fn a_dict_keeps_the_order_of_insertion() {
    let mut dict: ModuleDict<Linear> = [("b", linear(1)), ("a", linear(2))].into_iter().collect();
    assert!(dict.insert("c", linear(3)).is_none());
    assert_eq!(dict.insert("b", linear(4)).unwrap().weight.dims(), [1, 3]);
    assert_eq!(dict.keys().collect::<Vec<_>>(), ["b", "a", "c"]);
    assert_eq!(dict["b"].weight.dims(), [4, 3]);
    assert!(dict.remove("a").is_some() && dict.remove("a").is_none());
    assert_eq!((dict.len(), dict.is_empty(), dict.contains_key("c")), (2, false, true));
    let paths: Vec<_> = dict.named_params().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["b.weight", "b.bias", "c.weight", "c.bias"]);
    dict["c"].set_trainable(false);
    assert_eq!(dict.values().map(|linear| linear.weight.dims()[0]).collect::<Vec<_>>(), [4, 3]);
    for name in ["", "a.b"] {
        assert!(guard(|| dict.clone().insert(name, linear(1))).is_err());
    }
}
