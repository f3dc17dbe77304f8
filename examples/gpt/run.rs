//! A training run: what a step does, and how the run is saved and resumed.

use std::path::Path;

use kiln::data::Batches;
use kiln::optim::schedule::{CosineAnnealingLr, WarmupLr};
use kiln::prelude::*;
use kiln::train::Checkpoint;
use kiln::{Error, Result};

use crate::model::{Gpt, GptConfig};
use crate::text::{Vocabulary, pieces};

/// Pieces of text on which the network is tested.
const TESTED: usize = 200;

/// A network in training.
pub struct Run {
    pub model: Gpt,
    pub vocabulary: Vocabulary,
    /// Steps that were taken.
    pub step: usize,
    optim: AdamW,
}

/// How to train, apart from the network.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Steps in all.
    pub steps: usize,
    pub batch_size: usize,
    /// The highest learning rate.
    pub lr: f64,
    pub seed: u64,
}

impl Run {
    /// A network that knows nothing.
    pub fn new(config: GptConfig, vocabulary: Vocabulary, device: &Device) -> Self {
        // Weights shrink a little in each step, biases and norms do not.
        let optim = AdamWConfig::new(1e-3).with_weight_decay(0.1).with_betas(0.9, 0.99).init();
        let optim = optim
            .with_group(ParamSelect::Vectors, |vectors| vectors.with_weight_decay(0.0))
            .with_grad_clipping(GradientClipping::GlobalNorm(1.0));
        Self { model: config.init(device), vocabulary, step: 0, optim }
    }

    /// Trains on `tokens` up to step `until`. Calls `report` after each step with its loss.
    ///
    /// Everything follows from the seed and the number of the step, so a run that was resumed
    /// takes the same steps as one that never stopped.
    pub fn train(
        &mut self,
        tokens: &[i64],
        settings: &Settings,
        until: usize,
        device: &Device,
        mut report: impl FnMut(f64),
    ) {
        let Settings { steps, batch_size, lr, seed } = *settings;
        let length = self.model.config.block_size;
        let warmup = steps.min(1000) / 10;
        let cosine = CosineAnnealingLr::new(lr, steps - warmup).with_min_lr(lr / 10.0);
        let schedule = WarmupLr::new(warmup, cosine);
        let starts = Batches::new(tokens.len() - length, batch_size).shuffled(seed);
        let order = (0..).flat_map(|epoch| starts.epoch(epoch));
        for starts in order.skip(self.step).take(until - self.step) {
            self.optim.set_lr(schedule.lr_at(self.step));
            let (x, y) = pieces(tokens, &starts, length, device);
            let loss = loss(&self.model, &x, &y);
            self.optim.step(&mut self.model, loss.backward());
            self.step += 1;
            report(loss.item());
        }
    }

    /// The mean loss on pieces from all over `tokens`.
    pub fn test(&self, tokens: &[i64], device: &Device) -> f64 {
        let length = self.model.config.block_size;
        let places = tokens.len() - length;
        let starts: Vec<usize> = (0..TESTED).map(|i| i * places / TESTED).collect();
        let losses = starts.chunks(20).map(|starts| {
            let (x, y) = pieces(tokens, starts, length, device);
            no_grad(|| loss(&self.model, &x, &y)).item::<f64>()
        });
        losses.sum::<f64>() / TESTED.div_ceil(20) as f64
    }

    /// Writes on after `prompt`.
    pub fn write(&self, prompt: &str, count: usize, temperature: f64) -> Result<String> {
        let prompt = self.vocabulary.encode(prompt)?;
        Ok(self.vocabulary.decode(&self.model.generate(&prompt, count, temperature)))
    }

    /// Saves everything as one checkpoint: network and optimizer, sizes, vocabulary and the number
    /// of steps.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert("model", self.model.state_dict());
        checkpoint.insert("optim", self.optim.state_dict());
        checkpoint.set("config", self.model.config.to_text());
        checkpoint.set("vocabulary", self.vocabulary.chars());
        checkpoint.set("step", self.step);
        checkpoint.save(path)
    }

    /// Takes back what [`Run::save`] wrote.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let damaged = |what: &str| Error::File {
            path: path.display().to_string(),
            what: format!("{what}; it was not written by this example"),
        };
        let checkpoint = Checkpoint::load(path)?;
        let config = checkpoint.get("config").and_then(|text| GptConfig::from_text(text).ok());
        let config = config.ok_or_else(|| damaged("has no valid `config`"))?;
        let vocabulary = checkpoint
            .get("vocabulary")
            .map(Vocabulary::of)
            .filter(|vocabulary| vocabulary.len() == config.vocab_size)
            .ok_or_else(|| damaged("has no valid `vocabulary`"))?;
        // Sizes are believed only if the file holds as many weights: nothing larger is allocated.
        let state = checkpoint.part("model");
        let weights: usize = state.iter().map(|(_, data)| data.num_elements()).sum();
        if !config.is_valid() || config.num_weights() > weights as f64 {
            return Err(damaged("has not the weights that its `config` asks for"));
        }
        let step = checkpoint.get("step").and_then(|step| step.parse().ok());

        let mut run = Self::new(config, vocabulary, device);
        run.step = step.ok_or_else(|| damaged("has no valid `step`"))?;
        checkpoint.load_model("model", &mut run.model)?;
        run.optim.load_state_dict(&run.model, &checkpoint.part("optim"))?;
        Ok(run)
    }
}

/// Cross-entropy of the characters `y` `[n * t]` that follow those of `x` `[n, t]`.
pub fn loss(model: &Gpt, x: &Tensor<2, Int>, y: &Tensor<1, Int>) -> Tensor<1> {
    let logits = model.forward(x).flatten::<2>(0, 1); // [n * t, vocab_size]
    CrossEntropyLoss::new().forward(&logits, y)
}
