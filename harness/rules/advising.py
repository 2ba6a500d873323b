"""Advice on a data set before any training: what the rules choose, what to expect of each arm, and what it costs."""

from collections.abc import Callable, Mapping
from pathlib import Path

from harness.backbones.backbone import Backbone
from harness.backbones.described import architecture_of
from harness.backbones.devices import fast_precision, use_precision
from harness.backbones.weights import load_all
from harness.core.backbone import BackboneSpec
from harness.core.spec import Budget, DatasetSpec, StudySpec
from harness.data.dataset import Drawn
from harness.guidance.advice import advise as by_article
from harness.guidance.measure import measure_similarity
from harness.guidance.profile import profile
from harness.rules.advised import Advised, Option
from harness.rules.arms import BATCH_SIZE, EPOCHS, FROZEN_SIZES, RATE_FACTORS, probed_arms
from harness.rules.expectation import learn
from harness.rules.league import standings, trusted
from harness.rules.outcomes import Outcomes
from harness.rules.probes import MOST_IMAGES, Features, Pass, frozen_features, probe
from harness.rules.profile import Probed
from harness.rules.rules import ALIKE, RULES
from harness.statistics.similarity import SAMPLE, load_reference
from harness.training.counts import Setting, rates_of_pass, training_seconds
from harness.training.flops import trial_cost

_CACHE_BYTES = 8 * 10**9


def advise(
    spec: StudySpec,
    dataset: DatasetSpec,
    drawn: Drawn,
    past: Outcomes,
    weights: Mapping[str, Path],
    note: Callable[[str], None] = lambda _: None,
) -> Advised:
    """Return the advice on the training images of ``drawn``, of which `MOST_IMAGES` are probed at most.

    Args:
        spec: The study whose search the advice is for.
        dataset: Where the images are from.
        drawn: The parts of the study. The test set stays sealed.
        past: The recorded outcomes to learn from.
        weights: Files of ImageNet weights by backbone. Others are found or downloaded.
        note: Callback(text) for lines on progress.

    Raises:
        HarnessError: The images or weights cannot be read.
    """
    backbones = [BackboneSpec.load(name) for name in RATE_FACTORS]
    found = load_all(backbones, weights)
    use_precision(fast_precision())
    images = drawn.some(MOST_IMAGES, max(FROZEN_SIZES))
    features: Features = {}
    passes: list[Pass] = []
    for declared in backbones:
        arms = [arm for arm in probed_arms() if arm.backbone == declared.name]
        some, made = frozen_features(images, Backbone.of(declared, found[declared.name]), arms, note)
        features |= some
        passes += made
    note("similarity to ImageNet")
    similarity = measure_similarity(
        drawn.some(SAMPLE, load_reference().image_size), weights.get(backbones[0].name), _CACHE_BYTES
    )
    note("probes")
    labels, n_classes = drawn.listing.labels[drawn.parts.train], len(drawn.listing.class_names)
    known = profile(labels, n_classes, dataset, similarity, spec.advice)
    probed = Probed(
        n_train=len(labels),
        classes=n_classes,
        majority=max(known.class_sizes) / len(labels),
        own_size=drawn.own_size(),
        distance=similarity.distance,
        probes={place: probe(values, images.labels) for place, values in features.items()},
    )
    rule = trusted(standings(past))
    return Advised(
        dataset=dataset.name,
        profile=known,
        probed=probed,
        n_validation=len(drawn.parts.validation),
        n_probed=len(images),
        article=by_article(known, spec.advice.large_at, spec.search),
        rule=rule,
        options=_options(probed, past, passes, len(drawn.parts.validation)),
        by_rule={rule.name: rule.choose(probed, past) for rule in RULES if rule.possible(past.arms)},
        alike={name: rule.regret[name] for name in past.alike(probed, ALIKE)},
        probing=sum(one.flops for one in passes),
    )


def _options(probed: Probed, past: Outcomes, passes: list[Pass], n_validation: int) -> tuple[Option, ...]:
    expected = learn(past).expect(probed)
    budget = Budget(epochs=EPOCHS, batch_size=BATCH_SIZE)
    architectures = {name: architecture_of(BackboneSpec.load(name)) for name in RATE_FACTORS}
    options = []
    for i, arm in enumerate(past.arms):
        architecture = architectures[arm.backbone]
        setting = Setting(architecture, probed.classes, probed.n_train, n_validation, budget, _CACHE_BYTES)
        cost = trial_cost(architecture, arm, probed.classes, probed.n_train + n_validation, _CACHE_BYTES)
        timed = [one for one in passes if one.backbone == arm.backbone]
        nearest = min(timed, key=lambda one: abs(one.image_size - arm.image_size))
        rates = rates_of_pass(nearest.flops, nearest.seconds)
        options.append(
            Option(
                arm, float(expected.accuracy[i]), float(expected.low[i]), float(expected.high[i]),
                cost.at(probed.n_train, EPOCHS), training_seconds(setting.counts(arm, EPOCHS), rates),
            )
        )  # fmt: skip
    return tuple(sorted(options, key=lambda option: -option.accuracy))
