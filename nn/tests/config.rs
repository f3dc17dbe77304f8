//! Settings: defaults, setters, files.

extern crate kiln_nn as kiln;

use kiln_nn::{Config, Initializer, LinearConfig};

#[derive(Config, Debug, PartialEq)]
enum Norm {
    None,
    Group(usize),
    Layer { epsilon: f64 },
}

#[derive(Config, Debug)]
struct NetConfig {
    linear: LinearConfig,
    #[config(default = "Norm::Layer { epsilon: 1e-5 }")]
    norm: Norm,
    #[config(default = "gelu")]
    activation: String,
    #[config(default = 2 * 3)]
    layers: usize,
    seed: Option<u64>,
}

#[test]
fn new_asks_for_what_has_no_default_and_setters_change_the_rest() {
    let config = NetConfig::new(LinearConfig::new(3, 4).with_bias(false));
    assert_eq!((config.linear.inputs, config.linear.outputs, config.linear.bias), (3, 4, false));
    assert_eq!(config.norm, Norm::Layer { epsilon: 1e-5 });
    assert_eq!((config.activation.as_str(), config.layers, config.seed), ("gelu", 6, None));
    let config = config.clone().with_norm(Norm::Group(8)).with_seed(Some(7));
    assert_eq!((config.norm, config.seed), (Norm::Group(8), Some(7)));
}

#[test]
fn text_is_read_back_as_it_was() {
    for norm in [Norm::None, Norm::Group(4), Norm::Layer { epsilon: 0.5 }] {
        let linear =
            LinearConfig::new(1, 2).with_initializer(Initializer::Normal { mean: 0.0, std: 0.02 });
        let config = NetConfig::new(linear).with_norm(norm.clone());
        let read = NetConfig::from_text(&config.to_string()).unwrap();
        assert_eq!(read.norm, norm);
        assert_eq!(read.linear.initializer, Initializer::Normal { mean: 0.0, std: 0.02 });
    }
}

#[test]
fn a_file_may_lack_what_has_a_default() {
    let read = NetConfig::from_text(r#"{"linear": {"inputs": 1, "outputs": 2}}"#).unwrap();
    assert_eq!((read.layers, read.linear.bias), (6, true));
}

#[test]
fn a_wrong_file_is_an_error_that_says_why() {
    for (text, why) in [
        (r#"{"linear": {"inputs": 1}}"#, "missing field `outputs`"),
        (r#"{"linear": {"inputs": 1, "outputs": 2, "baias": true}}"#, "unknown field `baias`"),
        (r#"{"linear": {"inputs": -1, "outputs": 2}}"#, "invalid value"),
        ("{", "EOF"),
    ] {
        let error = NetConfig::from_text(text).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let error = NetConfig::load("/nowhere/config.json").unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/config.json: "), "{error}");
}

#[test]
fn a_file_is_read_back_as_it_was() {
    let path = std::env::temp_dir().join(format!("kiln_config_{}.json", std::process::id()));
    let config = NetConfig::new(LinearConfig::new(5, 6)).with_layers(9);
    config.save(&path).unwrap();
    let read = NetConfig::load(&path);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read.unwrap().to_text(), config.to_text());
}
