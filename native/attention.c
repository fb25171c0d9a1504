#include "tile.h"
const ft_entry FT_NAME(attention_entries)[] = {{NULL, NULL, NULL}};
