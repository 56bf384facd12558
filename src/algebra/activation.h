/* activation.h - the activations that a feed-forward layer may have. */
#ifndef DTX_ACTIVATION_H
#define DTX_ACTIVATION_H

typedef enum { DTX_ACT_GELU_ERF, DTX_ACT_GELU_TANH, DTX_ACT_RELU, DTX_ACT_SILU } dtx_activation;

#endif
