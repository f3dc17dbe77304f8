//! Every gradient rule against finite differences in f64, over the sample inputs of the operation
//! table: an operation can not be left out.

use std::collections::BTreeSet;

use kiln_autograd::check::Check;
use kiln_autograd::not_differentiable;
use kiln_tensor::num_complex::Complex;
use kiln_tensor::op::samples::{Case, Input, Values};
use kiln_tensor::op::{Meta, Op, UnaryKind, View, all_samples};
use kiln_tensor::{AnyTensor, DType, Device, TensorData, apply};

/// Numbers that are different in every case, and the same in every run.
struct Numbers(u64);

impl Numbers {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn tensor(&mut self, input: &Input) -> AnyTensor {
        let n = input.shape.num_elements();
        let data = match input.values {
            Values::Float(low, high) => {
                let values: Vec<f64> =
                    (0..n).map(|_| low + (high - low) * self.uniform()).collect();
                TensorData::new(values, input.shape)
            }
            Values::Int(low, high) => {
                let value = |_| low + ((high - low) as f64 * self.uniform()) as i64;
                TensorData::new((0..n).map(value).collect::<Vec<i64>>(), input.shape)
            }
            Values::Complex(low, high) => {
                let mut part = || low + (high - low) * self.uniform();
                let values: Vec<Complex<f64>> =
                    (0..n).map(|_| Complex::new(part(), part())).collect();
                TensorData::new(values, input.shape)
            }
            Values::Bool => TensorData::new(
                (0..n).map(|_| self.uniform() < 0.5).collect::<Vec<_>>(),
                input.shape,
            ),
        };
        AnyTensor::from_data(&data, &Device::cpu()).unwrap()
    }
}

/// Samples whose gradient exists, by the name of their operation.
fn cases() -> impl Iterator<Item = (String, Case, Vec<AnyTensor>)> {
    let mut numbers = Numbers(1);
    all_samples().cases.into_iter().filter(|case| case.smooth).map(move |case| {
        let inputs = case.inputs.iter().map(|input| numbers.tensor(input)).collect();
        (format!("{:?} of {:?}", case.op, case.inputs), case, inputs)
    })
}

/// The same values in another order of memory.
fn restride(x: &AnyTensor) -> AnyTensor {
    if x.rank() < 2 { x.clone() } else { x.transpose().contiguous().transpose() }
}

#[test]
fn first_order_gradients_follow_finite_differences() {
    let mut failed = Vec::new();
    for (name, case, inputs) in cases() {
        // Not every memory order can be viewed as every shape; all else takes any.
        let viewed = matches!(case.op, Op::View(View::Reshape(_) | View::AsComplex));
        let inputs: Vec<_> =
            inputs.iter().map(|x| if viewed { x.clone() } else { restride(x) }).collect();
        let result = Check::default().first_order(&inputs, |inputs| {
            apply(&case.op, &inputs.iter().collect::<Vec<_>>()).unwrap()
        });
        failed.extend(result.err().map(|error| format!("{name}: {error}")));
    }
    assert!(failed.is_empty(), "{} rules are wrong:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn second_order_gradients_follow_finite_differences() {
    let mut failed = Vec::new();
    for (name, case, inputs) in cases() {
        let result = Check::default().second_order(&inputs, |inputs| {
            apply(&case.op, &inputs.iter().collect::<Vec<_>>()).unwrap()
        });
        failed.extend(result.err().map(|error| format!("{name}: {error}")));
    }
    assert!(failed.is_empty(), "{} rules are wrong:\n{}", failed.len(), failed.join("\n"));
}

/// The name of an operation in the table.
fn name(op: &Op) -> String {
    format!("{op:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

/// Why an operation has no gradient, if it has none.
fn reason(case: &Case) -> Option<&'static str> {
    let meta = |input: &Input| {
        let dtype = match input.values {
            Values::Float(..) => DType::F64,
            Values::Int(..) => DType::I64,
            Values::Complex(..) => DType::Complex128,
            Values::Bool => DType::Bool,
        };
        Meta { shape: input.shape, dtype }
    };
    let metas: Vec<_> = case.inputs.iter().map(meta).collect();
    let outputs = case.op.spec().infer(&metas).unwrap();
    let discrete = outputs.iter().all(|output| !output.dtype.is_differentiable());
    not_differentiable(&case.op).or(discrete.then_some("its results are integers or bools"))
}

/// Every operation of the table is differentiated above, or gives integers or bools, or says why
/// it has no gradient. The documentation has the same list.
#[test]
fn every_operation_has_a_rule_or_a_reason() {
    let covered: BTreeSet<_> = cases().map(|(_, case, _)| name(&case.op)).collect();
    let mut rows = BTreeSet::new();
    for case in all_samples().cases {
        let name = name(&case.op);
        if covered.contains(&name) {
            continue;
        }
        match reason(&case) {
            Some(reason) => drop(rows.insert(format!("| `{name}` | {reason} |\n"))),
            None => panic!("{:?} has neither a checked rule nor a reason", case.op),
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/gradients.md");
    let documented = std::fs::read_to_string(path).unwrap();
    let table: String = rows.into_iter().collect();
    assert!(documented.ends_with(&table), "docs/gradients.md should end with\n{table}");
    for unary in UnaryKind::ALL.into_iter().filter(|&unary| unary != UnaryKind::Not) {
        let checked =
            cases().any(|(_, case, _)| matches!(case.op, Op::Unary(op) if op.kind == unary));
        assert!(checked, "{unary:?} is not checked");
    }
}
