//! Gradients of recurrent layers by their fused backward, as a training step asks for them: those
//! of the states alone, not of what the layer keeps.

use kiln_autograd::check::Check;
use kiln_tensor::op::{Recurrent, RecurrentCell};
use kiln_tensor::{AnyTensor, Device, TensorData};

const CELLS: [RecurrentCell; 4] =
    [RecurrentCell::Lstm, RecurrentCell::Gru, RecurrentCell::Tanh, RecurrentCell::Relu];

/// Numbers in -1..1, far from each other.
fn numbers(shape: &[usize], seed: usize) -> AnyTensor {
    let n = shape.iter().product();
    let number = |i: usize| ((i * 37 + seed * 101 + 13) % 97) as f64 / 48.5 - 1.0;
    let data = TensorData::new((0..n).map(number).collect::<Vec<_>>(), shape);
    AnyTensor::from_data(&data, &Device::cpu()).unwrap()
}

fn layers() -> impl Iterator<Item = (Recurrent, Vec<AnyTensor>)> {
    let options = [(false, false, false), (false, true, true), (true, false, true)];
    CELLS.into_iter().flat_map(move |cell| {
        options.map(|(reverse, bias, lengths)| {
            let (time, batch, h) = (3, 3, 2);
            let wide = cell.gates() * h;
            let mut inputs = vec![numbers(&[time, batch, wide], 1), numbers(&[wide, h], 2)];
            inputs.push(numbers(&[batch, h], 3));
            inputs.extend((cell == RecurrentCell::Lstm).then(|| numbers(&[batch, h], 4)));
            inputs.extend(bias.then(|| numbers(&[wide], 5)));
            if lengths {
                let lengths = TensorData::from([2i64, 3, 1]);
                inputs.push(AnyTensor::from_data(&lengths, &Device::cpu()).unwrap());
            }
            (Recurrent { cell, reverse, bias, lengths }, inputs)
        })
    })
}

fn states(layer: Recurrent, inputs: &[AnyTensor]) -> kiln_tensor::Outputs {
    let rest: Vec<_> = inputs[1..].iter().collect();
    let mut outputs = inputs[0].apply_all(layer, &rest);
    outputs.truncate(if layer.cell == RecurrentCell::Lstm { 3 } else { 2 });
    outputs
}

#[test]
fn the_fused_gradients_follow_finite_differences() {
    for (layer, inputs) in layers() {
        let result = Check::default().first_order(&inputs, |inputs| states(layer, inputs));
        assert_eq!(result, Ok(()), "{layer:?}");
    }
}

#[test]
fn second_order_gradients_follow_finite_differences() {
    for (layer, inputs) in layers() {
        let result = Check::default().second_order(&inputs, |inputs| states(layer, inputs));
        assert_eq!(result, Ok(()), "{layer:?}");
    }
}

#[test]
fn the_last_state_alone_has_gradients() {
    for (layer, inputs) in layers() {
        let last =
            |inputs: &[AnyTensor]| [states(layer, inputs).swap_remove(1)].into_iter().collect();
        assert_eq!(Check::default().first_order(&inputs, last), Ok(()), "{layer:?}");
    }
}
