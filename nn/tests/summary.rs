//! The table that [`Summary`] prints.

extern crate kiln_nn as kiln;

use kiln_nn::{
    BatchNorm2d, BatchNorm2dConfig, Conv2d, Conv2dConfig, Dropout, DropoutConfig, Flatten, Linear,
    LinearConfig, MaxPool2d, MaxPool2dConfig, Module, Summary,
};
use kiln_tensor::{Device, Tensor, activation};

#[derive(Module, Clone)]
struct Cnn {
    conv: Conv2d,
    norm: BatchNorm2d,
    pool: MaxPool2d,
    dropout: Dropout,
    fc: Linear,
}

impl Cnn {
    fn forward(&self, x: &Tensor<4>) -> Tensor<2> {
        let x = activation::relu(self.norm.forward(&self.conv.forward(x)));
        let x = Flatten::new().forward(&self.pool.forward(&x));
        self.fc.forward(&self.dropout.forward(&x))
    }
}

fn cnn() -> Cnn {
    let device = Device::cpu();
    Cnn {
        conv: Conv2dConfig::new([3, 16], [3, 3]).with_padding([1, 1]).init(&device),
        norm: BatchNorm2dConfig::new(16).init(&device),
        pool: MaxPool2dConfig::new([2, 2]).init(),
        dropout: DropoutConfig::new(0.5).init(),
        fc: LinearConfig::new(1024, 10).init(&device),
    }
}

#[test]
fn a_cnn_as_text() {
    let summary = Summary::of(&cnn(), |model, device| {
        model.forward(&Tensor::zeros([8, 3, 16, 16], device));
    });
    let expected = "\
layer  operation           output                    params       FLOPs      memory
-----------------------------------------------------------------------------------
conv   conv2d              [8, 16, 16, 16]              448      1.77 M   128.0 KiB
norm   batch_norm          [8, 16, 16, 16]               32     65.54 k   128.0 KiB
       relu                [8, 16, 16, 16]                      32.77 k   128.0 KiB
       max_pool2d          [8, 16, 8, 8]                        32.77 k    64.0 KiB
fc     matmul              [8, 10]                   10,250    163.84 k       320 B
-----------------------------------------------------------------------------------
total                                                10,730      2.06 M   448.3 KiB
10,730 parameters (41.9 KiB), 10,730 of them trained";
    assert_eq!(summary.to_string(), expected, "found:\n{summary}");
}

#[test]
fn a_layer_that_is_used_twice_counts_its_parameters_once() {
    let model = LinearConfig::new(4, 4).init(&Device::cpu());
    let summary = Summary::of(&model, |model, device| {
        let x = Tensor::<2>::zeros([2, 4], device);
        model.forward(&activation::relu(model.forward(&x)));
    });
    let params: Vec<_> = summary.rows.iter().map(|row| (row.operation, row.params)).collect();
    assert_eq!(params, [("matmul", 20), ("relu", 0), ("matmul", 0)]);
    assert_eq!(summary.num_params, 20);
    assert_eq!(summary.rows[0].flops, summary.rows[2].flops);
    assert_eq!(summary.flops(), summary.rows.iter().map(|row| row.flops).sum::<u64>());
}

#[test]
fn parameters_that_forward_does_not_use_count_in_the_total() {
    let summary = Summary::of(&cnn(), |model, device| {
        model.conv.forward(&Tensor::zeros([1, 3, 8, 8], device));
    });
    assert_eq!(summary.rows.len(), 1);
    assert_eq!(summary.rows[0].params, 3 * 16 * 9 + 16);
    assert_eq!(summary.num_params, cnn().num_params());
}

#[test]
fn the_model_is_untouched_and_nothing_is_computed() {
    let model = cnn();
    let before = model.state_dict();
    // An image of 8 GB: there is no memory behind the shapes.
    let summary = Summary::of(&model, |model, device| {
        model.conv.forward(&Tensor::zeros([1, 3, 25_000, 25_000], device));
    });
    assert_eq!(*summary.rows[0].output, [1, 16, 25_000, 25_000]);
    for ((path, before), (_, after)) in before.iter().zip(model.state_dict().iter()) {
        assert_eq!(before, after, "{path}");
    }
    assert!(model.named_params().iter().all(|(_, param)| param.tracked().is_some()));
}

#[test]
fn a_wrong_input_is_refused_as_in_a_real_pass() {
    let summary = || {
        Summary::of(&cnn(), |model, device| {
            model.forward(&Tensor::zeros([1, 4, 16, 16], device));
        })
    };
    assert!(kiln_tensor::guard(summary).is_err());
}

#[test]
fn deep_paths_keep_the_table_within_a_hundred_columns() {
    #[derive(Module, Clone)]
    struct Deep {
        transformer_encoder_layers: Vec<Vec<Linear>>,
    }
    let linear = || LinearConfig::new(300, 300).init(&Device::cpu());
    let mut model = Deep { transformer_encoder_layers: vec![vec![linear(), linear()]] };
    model.freeze("**.0.1.*").unwrap();
    let summary = Summary::of(&model, |model, device| {
        let x = Tensor::<3>::zeros([1000, 1000, 300], device);
        model.transformer_encoder_layers[0][1].forward(&x);
    });
    let text = summary.to_string();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let expected = "…er_encoder_layers.0.1  matmul              [1000, 1000, 300]         90,300    \
                    180.00 G     1.1 GiB";
    assert!(text.contains(expected), "{text}");
    assert!(text.ends_with("180,600 parameters (705.5 KiB), 90,300 of them trained"), "{text}");
}
