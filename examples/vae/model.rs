//! The network.

use kiln::prelude::*;

/// A variational autoencoder (Kingma & Welling 2013): an encoder that says where in a space of few
/// dimensions an image may lie, and a decoder that draws what lies there.
#[derive(Module, Clone, Debug)]
pub struct Vae {
    encoder: Linear,
    mean: Linear,
    log_variance: Linear,
    decoder: Linear,
    pixels: Linear,
}

impl Vae {
    /// For images of this many pixels.
    pub fn new(pixels: usize, hidden: usize, latent: usize, device: &Device) -> Self {
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Self {
            encoder: linear(pixels, hidden),
            mean: linear(hidden, latent),
            log_variance: linear(hidden, latent),
            decoder: linear(latent, hidden),
            pixels: linear(hidden, pixels),
        }
    }

    /// Mean and logarithm of the variance of the points of images: `[n, pixels]` to two `[n, latent]`.
    pub fn encode(&self, images: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let x = activation::relu(self.encoder.forward(images));
        (self.mean.forward(&x), self.log_variance.forward(&x))
    }

    /// Points `[n, latent]` to the logits of pixels `[n, pixels]`.
    pub fn decode(&self, points: &Tensor<2>) -> Tensor<2> {
        self.pixels.forward(&activation::relu(self.decoder.forward(points)))
    }

    /// What the decoder draws at some points, `[n, pixels]`, 0 to 1.
    pub fn draw(&self, points: &Tensor<2>) -> Tensor<2> {
        activation::sigmoid(self.decode(points))
    }

    /// The two parts of the loss, each a sum over the batch: how badly images are drawn again (binary
    /// cross-entropy), and how far their points are from a standard normal distribution
    /// (Kullback-Leibler divergence). `noise` `[n, latent]` is drawn from that distribution.
    pub fn losses(&self, images: &Tensor<2>, noise: &Tensor<2>) -> (Tensor<1>, Tensor<1>) {
        let (mean, log_variance) = self.encode(images);
        // A point is drawn as mean + deviation * noise, so that gradients reach mean and deviation.
        let points = &mean + (&log_variance * 0.5).exp() * noise;
        let bce = loss::bce_with_logits(self.decode(&points), images).sum();
        let kl = (mean.square() + log_variance.exp() - &log_variance - 1.0).sum() * 0.5;
        (bce, kl)
    }
}
