"""What students of chapter 02 hand in."""

from grading import edited

GIVEAWAY = r"\*|/|=|sqrt|√|logsumexp|diag|inv\b|answer is|letter c|\(2\)"

GAP = "(torch.logdet(covariance) + torch.linalg.inv(covariance).diag().log().sum()) / 2"
VARIANCE = """if error == "mean":
    weight = weight * pixels
if kl == "mean":
    weight = weight / latents
return weight / 2"""
BOUND = """z = mean + (logvar / 2).exp() * eps
squares = ((x - decode(z)) ** 2).sum(1)
constant = x.shape[1] * math.log(2 * math.pi * variance) / 2
kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)
return squares / (2 * variance) + constant + kl"""


RIGHT = [
    ("02-1", "torch.logsumexp(log_weights, 0) - math.log(len(log_weights))"),
    ("02-1", "m = log_weights.max(0).values\nreturn m + (log_weights - m).exp().mean(0).log()"),
    ("02-1", "np.logaddexp.reduce(log_weights.numpy()) - np.log(len(log_weights))"),
    ("02-1", "(log_weights.float().T.logsumexp(1) - torch.tensor(float(log_weights.shape[0])).log())"),
    ("02-1", "tl.likelihood.importance_bound(log_weights).tolist()"),
    ("02-2", GAP),
    ("02-2", "p = np.linalg.inv(covariance.numpy())\nreturn 0.5 * (np.log(np.diag(p)).sum() - np.linalg.slogdet(p)[1])"),
    (
        "02-2",
        "mvn = torch.distributions.MultivariateNormal\nm = torch.zeros(len(covariance)).double()\n"
        "q = mvn(m, torch.diag(1 / torch.inverse(covariance).diag()))\n"
        "return torch.distributions.kl_divergence(q, mvn(m, covariance)).item()",
    ),
    ("02-3", VARIANCE),
    ("02-3", "weight * (pixels if error == 'mean' else 1) / (latents if kl == 'mean' else 1) / 2"),
    (
        "02-3",
        "if (error, kl) == ('sum', 'mean'):\n    return weight / latents / 2\n"
        "return tl.losses.effective_beta(pixels, latents, **{f'{error}_{kl}': weight}).variance",
    ),
    ("02-4", "c"),
    ("02-4", "C"),
    ("02-4", " (c) "),
    ("02-5", BOUND),
    ("02-5", "q = tl.DiagonalGaussian(mean, logvar)\nreturn tl.losses.negative_elbo(x, decode(q.sample_with(eps)), q, variance)"),
    (
        "02-5",
        "z = mean + torch.sqrt(torch.exp(logvar)) * eps\n"
        "normal = torch.distributions.Normal(decode(z), variance**0.5)\n"
        "q = torch.distributions.Normal(mean, (logvar / 2).exp())\n"
        "p = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))\n"
        "return (torch.distributions.kl_divergence(q, p).sum(1) - normal.log_prob(x).sum(1)).numpy()",
    ),
]


STD, COUNT, SUM = ("(logvar / 2).exp()", "logvar.exp()"), ("x.shape[1] * ", ""), ("logvar).sum(1)", "logvar).mean(1)")
P = "torch.linalg.inv(covariance).diag()"
MISTAKES = [
    ("02-1", "log_weights.mean(0)", "mean of the logarithms"),
    ("02-1", "log_weights.exp().mean(0).log()", "leave the range"),
    ("02-1", "torch.log(torch.mean(torch.exp(log_weights), 0))", "leave the range"),
    ("02-1", "log_weights.logsumexp(0)", "added up and not averaged"),
    ("02-1", "log_weights.logsumexp(0) - len(log_weights)", "needs a logarithm too"),
    ("02-1", "log_weights.logsumexp(0) - math.log(log_weights.shape[1])", "number of data"),
    ("02-1", "log_weights.logsumexp(1) - math.log(log_weights.shape[1])", "second axis"),
    ("02-1", "log_weights.max(0).values", "largest weight only"),
    ("02-1", "log_weights.exp().mean(0)", "a logarithm is missing"),
    ("02-1", "log_weights.exp().mean(0).log()", "range of the floats"),
    ("02-1", "(log_weights - log_weights[0]).exp().mean(0).log() + log_weights[0]", "range of the floats"),
    ("02-1", "math.log(len(log_weights)) - log_weights.logsumexp(0)", "sign"),
    ("02-1", "tl.likelihood.importance_bound(log_weights).mean()", "one number"),
    ("02-2", f"(torch.logdet(covariance) + ({P} * covariance.diag() - 1 - covariance.diag().log()).sum()) / 2", "own var"),
    ("02-2", "(covariance.diag().log().sum() - torch.logdet(covariance)) / 2", "other way round"),
    ("02-2", f"torch.logdet(covariance) + {P}.log().sum()", "half"),
    ("02-2", f"(torch.logdet(covariance) - {P}.log().sum()) / 2", "wrong sign"),
    ("02-2", f"({P}.log().sum() - torch.logdet(covariance)) / 2", "that of the precision"),
    ("02-2", f"-{GAP}", "sign"),
    ("02-2", f"1 / {P}", "these are the best variances"),
    ("02-2", "-math.log(1 - covariance[0, 1].item() ** 2) / 2 if covariance[0, 0] == 1 else 0.0", "some inputs"),
    ("02-3", edited(VARIANCE, ("weight / 2", "weight")), "twice too large"),
    ("02-3", "weight / 2", "ignores the reductions"),
    ("02-3", "weight", "weight itself"),
    ("02-3", edited(VARIANCE, ("weight * pixels", "weight / pixels")), "pixels stands on the wrong side"),
    ("02-3", edited(VARIANCE, ("weight / latents", "weight * latents")), "latent entries stands on the wrong side"),
    ("02-3", edited(VARIANCE, ('"mean"', '"sum"')), "words have changed places"),
    ("02-3", edited(VARIANCE, ("* pixels", "* latents"), ("/ latents", "/ pixels")), "sizes have changed places"),
    ("02-3", "weight * pixels / latents / 2", "both are means"),
    ("02-3", edited(VARIANCE, ("weight / 2", "(weight / 2) ** 0.5")), "standard deviation"),
    ("02-4", "a", "does not halve a logarithm"),
    ("02-4", "b", "the error is right"),
    ("02-4", "d", "the KL is right"),
    ("02-5", edited(BOUND, STD, COUNT, SUM), "all three"),
    ("02-5", edited(BOUND, STD, COUNT), "two faults are left. .*standard deviation.* counted once"),
    ("02-5", edited(BOUND, SUM), "one fault is left: the KL is averaged"),
    ("02-5", edited(BOUND, COUNT), "one fault is left: the Gaussian's constant"),
    ("02-5", edited(BOUND, STD), "one fault is left: the noise"),
    ("02-5", edited(BOUND, ("x.shape[1]", "mean.shape[1]")), "entries of the latent"),
    ("02-5", edited(BOUND, (" + constant", "")), "constants of the Gaussian are missing"),
    ("02-5", edited(BOUND, (" * eps", " * 0")), "mean is decoded"),
    ("02-5", edited(BOUND, ("0.5 * ", "")), "half of the KL"),
    ("02-5", edited(BOUND, ("** 2).sum(1)", "** 2).mean(1)")), "averaged over the entries of x"),
    ("02-5", edited(BOUND, ("+ kl", "- kl")), "it is a price"),
    ("02-5", edited(BOUND, ("return squares", "return -(squares"), ("+ kl", "+ kl)")), "the negative one"),
]  # fmt: skip
