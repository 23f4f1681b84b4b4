"""Models: a small byte-level decoder and an image model, with their training, decoding and files, and trained models of others.

Every name exported here is a function or a class; so `generate`, `train` and `speculate` are functions, not the files.

Its files, in reading order:

    config.py               the sizes of a decoder
    given.py                checks of models and arrays that callers give
    text.py                 texts as bytes, their batches, the bigram
    sampling.py             the next token from its logits
    decoder.py              a byte-level language model
    optimise.py             AdamW, schedule, clipping
    halves.py               the gradient of a batch, half of it per thread
    train.py                the training loop
    sharded.py              the same over many ranks
    generate.py             the continuation of a prompt
    prefix.py               a text read once, continued many times
    batched.py              prompts of different lengths, side by side
    beam.py                 the likeliest continuations
    speculate.py            a small model proposes, the large one judges
    checkpoint.py           a model in a file
    pretrained/             trained models of many families
    evaluate.py             bits per byte; cached against full logits
    image.py                an image model
    digits.py               8 x 8 digits, and training on them
"""

from tinyattn.models.batched import generate_batch
from tinyattn.models.beam import Beams, beam_search
from tinyattn.models.checkpoint import Saved
from tinyattn.models.checkpoint import load_training as load_training
from tinyattn.models.checkpoint import save_training as save_training
from tinyattn.models.config import DecoderConfig
from tinyattn.models.decoder import Decoder, loss, parameters
from tinyattn.models.digits import Digits, accuracy, nearest_mean_accuracy, read_digits, train_images
from tinyattn.models.evaluate import bits_per_byte, cached_logits, gap_in_budgets, logits_and_budget
from tinyattn.models.generate import generate
from tinyattn.models.image import ImageConfig, ImageModel, image_loss
from tinyattn.models.optimise import AdamW, clip, schedule, update
from tinyattn.models.prefix import Prefix
from tinyattn.models.pretrained.attention_only import load_attention
from tinyattn.models.pretrained.load import load
from tinyattn.models.pretrained.model import Model
from tinyattn.models.sampling import draw, probabilities, sample
from tinyattn.models.speculate import speculate
from tinyattn.models.text import TextError, batch_of, bigram_bits_per_byte, read_text, split, windows
from tinyattn.models.train import Step, train

__all__ = ["AdamW", "Beams", "Decoder", "DecoderConfig", "Digits", "ImageConfig", "ImageModel", "Model", "Prefix", "Saved", "Step",
           "TextError", "accuracy", "batch_of", "beam_search", "bigram_bits_per_byte", "bits_per_byte", "cached_logits", "clip",
           "draw", "gap_in_budgets", "generate", "generate_batch", "image_loss", "load", "load_attention", "load_training",
           "logits_and_budget", "loss", "nearest_mean_accuracy", "parameters", "probabilities", "read_digits", "read_text",
           "sample", "save_training", "schedule", "speculate", "split", "train", "train_images", "update", "windows"]
