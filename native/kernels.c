/* The table of kernels of one target: one line per file of kernels. */
#include "fulltune.h"

extern const ft_entry FT_NAME(attention_entries)[];
extern const ft_entry FT_NAME(embedding_entries)[];
extern const ft_entry FT_NAME(linear_loss_entries)[];
extern const ft_entry FT_NAME(loss_entries)[];
extern const ft_entry FT_NAME(matmul_entries)[];
extern const ft_entry FT_NAME(movement_entries)[];
extern const ft_entry FT_NAME(norm_entries)[];
extern const ft_entry FT_NAME(offload_entries)[];
extern const ft_entry FT_NAME(optimizer_entries)[];
extern const ft_entry FT_NAME(optimizer_8bit_entries)[];
extern const ft_entry FT_NAME(optimizer_adafactor_entries)[];
extern const ft_entry FT_NAME(pointwise_entries)[];
extern const ft_entry FT_NAME(rotary_entries)[];

extern const ft_entry *const FT_NAME(kernels)[];
const ft_entry *const FT_NAME(kernels)[] = {
    FT_NAME(attention_entries), FT_NAME(embedding_entries), FT_NAME(loss_entries),
    FT_NAME(matmul_entries),    FT_NAME(movement_entries),  FT_NAME(norm_entries),
    FT_NAME(optimizer_entries), FT_NAME(pointwise_entries), FT_NAME(rotary_entries),
    FT_NAME(offload_entries),
    FT_NAME(linear_loss_entries),
    FT_NAME(optimizer_8bit_entries), FT_NAME(optimizer_adafactor_entries),
    NULL,
};
