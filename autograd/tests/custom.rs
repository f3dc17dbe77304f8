//! Operations of the user's own: computed, differentiated, and refused where they are wrong.

use kiln_autograd::check::Check;
use kiln_autograd::{Autograd, Backward};
use kiln_tensor::op::{
    CpuInput, CpuKernel, CpuOutput, CustomOp, Derivative, GradientRule, Keeps, Kept, Meta, Metas,
};
use kiln_tensor::{
    AnyTensor, DType, Device, Error, Outputs, Result, Tensor, TensorData, guard, trace,
};

/// `max(x + y, 0)` and, as a second output, `x * y`.
#[derive(Debug)]
struct Pair {
    derivative: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Rule,
    WrongRule,
    Decomposition,
    None,
}

impl CustomOp for Pair {
    fn name(&self) -> &'static str {
        "pair"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        match inputs {
            [x, y] if x == y && x.dtype == DType::F64 => Ok(Metas::from_slice(&[*x, *x])),
            _ => Err(Error::Argument { op: "pair", rule: "needs two f64 of one shape".into() }),
        }
    }

    fn cpu(&self) -> Option<&dyn CpuKernel> {
        Some(self)
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<Outputs> {
        let [x, y] = inputs else { return None };
        Some(Outputs::from_vec(vec![x.add(y).relu(), x.mul(y)]))
    }

    fn derivative(&self) -> Derivative<'_> {
        match self.derivative {
            Kind::Rule | Kind::WrongRule => Derivative::Rule(self),
            Kind::Decomposition => Derivative::Decomposition,
            Kind::None => Derivative::None("it jumps"),
        }
    }
}

impl CpuKernel for Pair {
    fn run(&self, inputs: &[CpuInput<'_>], outputs: &mut [CpuOutput<'_>]) -> Result<()> {
        let (x, y) = (inputs[0].as_slice::<f64>()?, inputs[1].as_slice::<f64>()?);
        for (z, (x, y)) in outputs[0].as_mut_slice::<f64>()?.iter_mut().zip(x.iter().zip(y)) {
            *z = (x + y).max(0.0);
        }
        for (z, (x, y)) in outputs[1].as_mut_slice::<f64>()?.iter_mut().zip(x.iter().zip(y)) {
            *z = x * y;
        }
        Ok(())
    }
}

impl GradientRule for Pair {
    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: 0b11, outputs: 0b01 }
    }

    fn gradients(&self, kept: &Kept, dys: &[Option<AnyTensor>]) -> Result<Vec<Option<AnyTensor>>> {
        let sum =
            dys[0].as_ref().map(|dy| dy.mul(&kept.output(0).greater_scalar(0).cast(DType::F64)));
        let product = |factor: usize| dys[1].as_ref().map(|dy| dy.mul(kept.input(factor)));
        let both = |factor| match (sum.clone(), product(factor)) {
            (Some(a), Some(b)) => Some(a.add(&b)),
            (a, b) => a.or(b),
        };
        match self.derivative {
            Kind::WrongRule => Ok(vec![both(1), both(0).map(|dy| dy.reshape([3, 1]))]),
            _ => Ok(vec![both(1), both(0)]),
        }
    }
}

fn inputs() -> [AnyTensor; 2] {
    let make =
        |values: [f64; 3]| AnyTensor::from_data(&TensorData::from(values), &Device::cpu()).unwrap();
    [make([1.0, -3.0, 0.5]), make([2.0, 1.0, -0.2])]
}

#[test]
fn the_kernel_and_the_decomposition_agree() {
    let [x, y] = inputs();
    let outputs = x.apply_all(Pair { derivative: Kind::Rule }, &[&y]);
    let parts = Pair { derivative: Kind::Rule }.decompose(&[&x, &y]).unwrap();
    for (output, part) in outputs.iter().zip(&parts) {
        assert_eq!(output.to_data().unwrap(), part.to_data().unwrap());
    }
    // A device without a kernel runs the decomposition, and strided inputs arrive in order.
    let reference = |x: &AnyTensor| x.to_device(&Device::reference()).unwrap();
    let elsewhere = reference(&x).apply_all(Pair { derivative: Kind::Rule }, &[&reference(&y)]);
    assert_eq!(elsewhere[1].to_data().unwrap(), outputs[1].to_data().unwrap());
    let square = |x: &AnyTensor| x.expand([3, 3]);
    let turned = square(&x).transpose().apply_all(Pair { derivative: Kind::Rule }, &[&square(&y)]);
    let expected = square(&x).transpose().mul(&square(&y));
    assert_eq!(turned[1].to_data().unwrap(), expected.to_data().unwrap());
    let (_, steps) = trace(|| x.apply_all(Pair { derivative: Kind::Rule }, &[&y]));
    assert_eq!(steps.len(), 1, "one operation");
}

#[test]
fn rules_and_decompositions_follow_finite_differences() {
    for derivative in [Kind::Rule, Kind::Decomposition] {
        let run = |inputs: &[AnyTensor]| inputs[0].apply_all(Pair { derivative }, &[&inputs[1]]);
        Check::default().first_order(&inputs(), run).unwrap();
        Check::default().second_order(&inputs(), run).unwrap();
    }
}

#[test]
fn an_operation_without_a_gradient_is_refused_at_the_call() {
    let [x, y] = inputs().map(Tensor::<1>::from_any);
    let pair = || Pair { derivative: Kind::None };
    let _untracked: Tensor<1> = x.apply(pair(), &[y.as_any()]);
    let tracked = x.require_grad();
    let error = guard(|| tracked.apply::<1, kiln_tensor::Float>(pair(), &[y.as_any()]));
    let text = error.unwrap_err().to_string();
    assert!(text.contains("pair") && text.contains("it jumps"), "{text}");
}

#[test]
fn a_gradient_of_the_wrong_shape_is_named() {
    let [x, y] = inputs().map(Tensor::<1>::from_any);
    let (x, y) = (x.require_grad(), y.require_grad());
    let z: Tensor<1> = x.apply(Pair { derivative: Kind::WrongRule }, &[y.as_any()]);
    let text = guard(|| Backward::new().run(&z)).unwrap_err().to_string();
    assert!(text.contains("input 1, f64 [3], can not be f64 [3, 1]"), "{text}");
}

#[test]
fn slices_of_another_type_are_refused() {
    #[derive(Debug)]
    struct Wrong;
    impl CustomOp for Wrong {
        fn name(&self) -> &'static str {
            "wrong"
        }
        fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
            Ok([inputs[0]].into())
        }
        fn cpu(&self) -> Option<&dyn CpuKernel> {
            Some(self)
        }
    }
    impl CpuKernel for Wrong {
        fn run(&self, inputs: &[CpuInput<'_>], _: &mut [CpuOutput<'_>]) -> Result<()> {
            inputs[0].as_slice::<f32>().map(|_| ())
        }
    }
    let [x, _] = inputs();
    let text = guard(|| x.apply(Wrong, &[])).unwrap_err().to_string();
    assert!(text.contains("f32") && text.contains("f64"), "{text}");
}
