"""The options of a network with two levels, for tests of its parts."""

SMALL = {
    "image_size": 8,
    "num_channels": 1,
    "nf": 8,
    "ch_mult": (1, 2),
    "num_res_blocks": 1,
    "attn_resolutions": (4,),
}
