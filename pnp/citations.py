"""BibTeX of the methods, by the keys that registry entries name."""

from __future__ import annotations

_ENTRIES: dict[str, tuple[str, str, str, str, int]] = {
    # key: (authors, title, where, details, year)
    "almeida2013": ("Almeida, M. S. C. and Figueiredo, M. A. T.", "Deconvolving images with unknown boundaries using the alternating direction method of multipliers", "IEEE Transactions on Image Processing", "22(8), 3074-3086", 2013),
    "bauschke2017": ("Bauschke, H. H. and Combettes, P. L.", "Convex Analysis and Monotone Operator Theory in Hilbert Spaces", "Springer", "2nd edition", 2017),
    "beck2009": ("Beck, A. and Teboulle, M.", "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", "SIAM Journal on Imaging Sciences", "2(1), 183-202", 2009),
    "beck2009tv": ("Beck, A. and Teboulle, M.", "Fast gradient-based algorithms for constrained total variation image denoising and deblurring problems", "IEEE Transactions on Image Processing", "18(11), 2419-2434", 2009),
    "bigdeli2017": ("Bigdeli, S. A. and Jin, M. and Favaro, P. and Zwicker, M.", "Deep mean-shift priors for image restoration", "NeurIPS", "30", 2017),
    "bigdeli2017autoencoding": ("Bigdeli, S. A. and Zwicker, M.", "Image restoration using autoencoding priors", "arXiv", "1703.09964", 2017),
    "boyd2011": ("Boyd, S. and Parikh, N. and Chu, E. and Peleato, B. and Eckstein, J.", "Distributed optimization and statistical learning via the alternating direction method of multipliers", "Foundations and Trends in Machine Learning", "3(1), 1-122", 2011),
    "buades2005": ("Buades, A. and Coll, B. and Morel, J.-M.", "A non-local algorithm for image denoising", "CVPR", "60-65", 2005),
    "chambolle2011": ("Chambolle, A. and Pock, T.", "A first-order primal-dual algorithm for convex problems with applications to imaging", "Journal of Mathematical Imaging and Vision", "40, 120-145", 2011),
    "chang2017": ("Chang, J. H. R. and Li, C.-L. and Poczos, B. and Vijaya Kumar, B. V. K. and Sankaranarayanan, A. C.", "One network to solve them all: solving linear inverse problems using deep projection models", "ICCV", "5888-5897", 2017),
    "coifman1995": ("Coifman, R. R. and Donoho, D. L.", "Translation-invariant de-noising", "Wavelets and Statistics, Springer", "125-150", 1995),
    "combettes2011": ("Combettes, P. L. and Pesquet, J.-C.", "Proximal splitting methods in signal processing", "Fixed-Point Algorithms for Inverse Problems in Science and Engineering, Springer", "185-212", 2011),
    "condat2013": ("Condat, L.", "A primal-dual splitting method for convex optimization involving Lipschitzian, proximable and linear composite terms", "Journal of Optimization Theory and Applications", "158, 460-479", 2013),
    "do2012": ("Do, T. T. and Gan, L. and Nguyen, N. H. and Tran, T. D.", "Fast and efficient compressive sensing using structurally random matrices", "IEEE Transactions on Signal Processing", "60(1), 139-154", 2012),
    "donoho1995": ("Donoho, D. L.", "De-noising by soft-thresholding", "IEEE Transactions on Information Theory", "41(3), 613-627", 1995),
    "chen2017": ("Chen, Y. and Pock, T.", "Trainable nonlinear reaction diffusion: a flexible framework for fast and effective image restoration", "IEEE Transactions on Pattern Analysis and Machine Intelligence", "39(6), 1256-1272", 2017),
    "geman1995": ("Geman, D. and Yang, C.", "Nonlinear image recovery with half-quadratic regularization", "IEEE Transactions on Image Processing", "4(7), 932-946", 1995),
    "goldstein2013": ("Goldstein, T. and Li, M. and Yuan, X. and Esser, E. and Baraniuk, R.", "Adaptive primal-dual hybrid gradient methods for saddle-point problems", "arXiv", "1305.0546", 2013),
    "hurault2022": ("Hurault, S. and Leclaire, A. and Papadakis, N.", "Gradient step denoiser for convergent plug-and-play", "ICLR", "", 2022),
    "kulkarni2016": ("Kulkarni, K. and Lohit, S. and Turaga, P. and Kerviche, R. and Ashok, A.", "ReconNet: non-iterative reconstruction of images from compressively sensed measurements", "CVPR", "449-458", 2016),
    "liu1989": ("Liu, D. C. and Nocedal, J.", "On the limited memory BFGS method for large scale optimization", "Mathematical Programming", "45, 503-528", 1989),
    "mallat1989": ("Mallat, S. G.", "A theory for multiresolution signal decomposition: the wavelet representation", "IEEE Transactions on Pattern Analysis and Machine Intelligence", "11(7), 674-693", 1989),
    "mohan2020": ("Mohan, S. and Kadkhodaie, Z. and Simoncelli, E. P. and Fernandez-Granda, C.", "Robust and interpretable blind image denoising via bias-free convolutional neural networks", "ICLR", "", 2020),
    "nesterov1983": ("Nesterov, Y.", "A method for solving the convex programming problem with convergence rate O(1/k^2)", "Soviet Mathematics Doklady", "27(2), 372-376", 1983),
    "odonoghue2015": ("O'Donoghue, B. and Candes, E.", "Adaptive restart for accelerated gradient schemes", "Foundations of Computational Mathematics", "15, 715-732", 2015),
    "polyak1964": ("Polyak, B. T.", "Some methods of speeding up the convergence of iteration methods", "USSR Computational Mathematics and Mathematical Physics", "4(5), 1-17", 1964),
    "romano2017": ("Romano, Y. and Elad, M. and Milanfar, P.", "The little engine that could: regularization by denoising (RED)", "SIAM Journal on Imaging Sciences", "10(4), 1804-1844", 2017),
    "rudin1992": ("Rudin, L. I. and Osher, S. and Fatemi, E.", "Nonlinear total variation based noise removal algorithms", "Physica D", "60, 259-268", 1992),
    "tachella2025": ("Tachella, J. and others", "DeepInverse: a Python package for solving imaging inverse problems with deep learning", "Journal of Open Source Software", "", 2025),
    "tikhonov1963": ("Tikhonov, A. N.", "Solution of incorrectly formulated problems and the regularization method", "Soviet Mathematics Doklady", "4, 1035-1038", 1963),
    "venkatakrishnan2013": ("Venkatakrishnan, S. V. and Bouman, C. A. and Wohlberg, B.", "Plug-and-play priors for model based reconstruction", "IEEE GlobalSIP", "945-948", 2013),
    "vu2013": ("Vu, B. C.", "A splitting algorithm for dual monotone inclusions involving cocoercive operators", "Advances in Computational Mathematics", "38, 667-681", 2013),
    "walker2011": ("Walker, H. F. and Ni, P.", "Anderson acceleration for fixed-point iterations", "SIAM Journal on Numerical Analysis", "49(4), 1715-1735", 2011),
    "zhang2017": ("Zhang, K. and Zuo, W. and Chen, Y. and Meng, D. and Zhang, L.", "Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising", "IEEE Transactions on Image Processing", "26(7), 3142-3155", 2017),
    "zhang2018": ("Zhang, J. and Ghanem, B.", "ISTA-Net: interpretable optimization-inspired deep network for image compressive sensing", "CVPR", "1828-1837", 2018),
    "zhang2021": ("Zhang, K. and Li, Y. and Zuo, W. and Zhang, L. and Van Gool, L. and Timofte, R.", "Plug-and-play image restoration with deep denoiser prior", "IEEE Transactions on Pattern Analysis and Machine Intelligence", "44(10), 6360-6376", 2021),
    "zhao2016": ("Zhao, N. and Wei, Q. and Basarab, A. and Dobigeon, N. and Kouame, D. and Tourneret, J.-Y.", "Fast single image super-resolution using a new analytical solution for l2-l2 problems", "IEEE Transactions on Image Processing", "25(8), 3683-3697", 2016),
    "heckel2019": ("Heckel, R. and Hand, P.", "Deep decoder: concise image representations from untrained non-convolutional networks", "ICLR", "", 2019),
    "darestani2021": ("Darestani, M. Z. and Heckel, R.", "Accelerated MRI with un-trained neural networks", "IEEE Transactions on Computational Imaging", "7, 724-733", 2021),
    "ulyanov2018": ("Ulyanov, D. and Vedaldi, A. and Lempitsky, V.", "Deep image prior", "CVPR", "9446-9454", 2018),
    "wang2023": ("Wang, H. and Li, T. and Zhuang, Z. and Chen, T. and Liang, H. and Sun, J.", "Early stopping for deep image prior", "Transactions on Machine Learning Research", "", 2023),
    "morozov1966": ("Morozov, V. A.", "On the solution of functional equations by the method of regularization", "Soviet Mathematics Doklady", "7, 414-417", 1966),
    "mataev2019": ("Mataev, G. and Milanfar, P. and Elad, M.", "DeepRED: deep image prior powered by RED", "ICCV Workshops", "", 2019),
    "cascarano2021": ("Cascarano, P. and Sebastiani, A. and Comes, M. C. and Franchini, G. and Porta, F.", "Combining weighted total variation and deep image prior for natural and medical image restoration via ADMM", "ICCSA", "39-46", 2021),
    "cascarano2022": ("Cascarano, P. and Franchini, G. and Kobler, E. and Porta, F. and Sebastiani, A.", "Constrained and unconstrained deep image prior optimization models with automatic regularization", "Computational Optimization and Applications", "84, 125-149", 2022),
    "cascarano2021video": ("Cascarano, P. and Comes, M. C. and Mencattini, A. and Parrini, M. C. and Piccolomini, E. L. and Martinelli, E.", "Recursive deep prior video: a super resolution algorithm for time-lapse microscopy of organ-on-chip experiments", "Medical Image Analysis", "72", 2021),
    "zukerman2021": ("Zukerman, J. and Tirer, T. and Giryes, R.", "BP-DIP: a backprojection based deep image prior", "EUSIPCO", "675-679", 2021),
}  # fmt: skip

OURS = """@software{pnp,
  title = {pnp: plug-and-play image restoration},
  author = {{The pnp developers}},
  year = {2026},
  version = {%s}
}"""


def bibtex(keys: tuple[str, ...] | list[str]) -> str:
    """BibTeX of these keys, in order, each once.  Raises KeyError for a key that is not here."""
    return "\n\n".join(_format(key) for key in dict.fromkeys(keys))


def _format(key: str) -> str:
    authors, title, where, details, year = _ENTRIES[key]
    book = where.endswith("Springer")
    kind, field = ("incollection", "booktitle") if book and "," in where else ("article", "journal")
    if where == "Springer":
        kind, field = "book", "publisher"
    elif where in ("CVPR", "ICCV", "ICLR", "NeurIPS", "IEEE GlobalSIP", "EUSIPCO"):
        kind, field = "inproceedings", "booktitle"
    note = f",\n  note = {{{details}}}" if details else ""
    return f"@{kind}{{{key},\n  author = {{{authors}}},\n  title = {{{title}}},\n  {field} = {{{where}}},\n  year = {{{year}}}{note}\n}}"
