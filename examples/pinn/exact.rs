//! The exact solution of Burgers' equation that starts as `-sin(pi x)`.

use std::f64::consts::PI;

use crate::model::VISCOSITY;

/// `u(x, t)` by the transformation of Cole and Hopf, which makes a heat equation of it (Basdevant et
/// al. 1986): a quotient of two integrals of a Gaussian.
pub fn solution(x: f64, t: f64) -> f64 {
    if t <= 0.0 {
        return -(PI * x).sin();
    }
    /// Beyond this many deviations nothing is left, even where the other factor is e^100 as large.
    const REACH: f64 = 16.0;
    const STEPS: i32 = 4000;
    let (mut above, mut below) = (0.0, 0.0);
    for step in -STEPS..=STEPS {
        let z = REACH * step as f64 / STEPS as f64;
        let y = x - z * (4.0 * VISCOSITY * t).sqrt();
        // The cosine is at most one, so this is at most e^0 times the Gaussian.
        let weight = (-(1.0 + (PI * y).cos()) / (2.0 * PI * VISCOSITY) - z * z).exp();
        above -= (PI * y).sin() * weight;
        below += weight;
    }
    above / below
}
