/* The inner loops of retrieval and features. `__init__.py` and `ranker.py` document the functions and are their only
   callers.

   Arrays are C-contiguous. `slot` is scratch memory with a place for each item; it is all zero between calls. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DAY 86400000.0
#define MISSING 0

/* ---- selection and fusion ------------------------------------------------------------------------------------ */

/* Keys in ascending order are scores in descending order; equal scores are ordered by item number. */
static uint64_t key_of(float score, int32_t item) {
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (uint64_t)~ascending << 32 | (uint32_t)item;
}

static float score_of(uint64_t key) {
    uint32_t ascending = ~(uint32_t)(key >> 32);
    uint32_t bits = ascending & 0x80000000u ? ascending & 0x7fffffffu : ~ascending;
    float score;
    memcpy(&score, &bits, sizeof score);
    return score;
}

/* The root of the heap is its largest key. Replace it by `key` and restore the order of the heap. */
static void replace_root(uint64_t *heap, int64_t count, uint64_t key) {
    int64_t place = 0;
    for (int64_t child; (child = 2 * place + 1) < count; place = child) {
        if (child + 1 < count && heap[child + 1] > heap[child]) child++;
        if (heap[child] <= key) break;
        heap[place] = heap[child];
    }
    heap[place] = key;
}

static void append(uint64_t *heap, int64_t count, uint64_t key) {
    int64_t place = count;
    for (int64_t parent; place > 0 && heap[parent = (place - 1) / 2] < key; place = parent) heap[place] = heap[parent];
    heap[place] = key;
}

int64_t best(const int32_t *items, const float *scores, int64_t count, float above, const int32_t *exclude,
             int64_t excluded, int32_t *slot, int64_t depth, uint64_t *heap, int32_t *best_items, float *best_scores) {
    int64_t kept = 0;
    for (int64_t k = 0; k < excluded; k++) slot[exclude[k]] = 1;
    for (int64_t k = 0; k < count && depth; k++) {
        if (!(scores[k] > above) || (excluded && slot[items[k]])) continue;
        uint64_t key = key_of(scores[k], items[k]);
        if (kept < depth) append(heap, kept++, key);
        else if (key < heap[0]) replace_root(heap, kept, key);
    }
    for (int64_t k = 0; k < excluded; k++) slot[exclude[k]] = 0;
    for (int64_t k = kept - 1; k >= 0; k--) {
        uint64_t last = heap[0];
        replace_root(heap, k, heap[k]);
        best_items[k] = (int32_t)(uint32_t)last;
        best_scores[k] = score_of(last);
    }
    return kept;
}

int64_t fuse(const int32_t *items, const int64_t *lengths, const double *weights, int64_t lists, double constant,
             int32_t *slot, int32_t *fused_items, double *sums) {
    int64_t distinct = 0;
    for (int64_t list = 0; list < lists; list++)
        for (int64_t k = 0; k < lengths[list]; k++) {
            int32_t item = *items++;
            if (!slot[item]) {
                fused_items[distinct] = item;
                sums[distinct] = 0;
                slot[item] = (int32_t)++distinct;
            }
            sums[slot[item] - 1] += weights[list] / (constant + 1 + (double)k);
        }
    for (int64_t k = 0; k < distinct; k++) slot[fused_items[k]] = 0;
    return distinct;
}

/* ---- histories ----------------------------------------------------------------------------------------------- */

int64_t owned(const int32_t *items, const int64_t *times, const float *action_weights, int64_t count, double recency,
              int64_t now, int32_t *slot, int32_t *own_items, float *days, float *steps, float *counts, float *weights,
              float *strength, int64_t *last_step) {
    int64_t distinct = 0, step = -1, time = 0;
    for (int64_t k = 0; k < count; k++) {
        int32_t item = items[k];
        if (item < 0) continue;
        if (step < 0 || times[k] != time) step++, time = times[k];
        float weight = action_weights[k];
        if (!(weight > 0)) continue;
        int64_t own = slot[item] - 1;
        if (own < 0) {
            own = distinct++;
            slot[item] = (int32_t)distinct;
            own_items[own] = item;
            days[own] = (float)((double)(now - times[k]) / DAY);
            steps[own] = (float)step;
            counts[own] = 0;
            strength[own] = 0;
            last_step[own] = -1;
        }
        if (last_step[own] != step) counts[own]++, last_step[own] = step;
        if (weight > strength[own]) strength[own] = weight;
    }
    for (int64_t k = 0; k < distinct; k++) {
        slot[own_items[k]] = 0;
        weights[k] = (float)(pow(recency, steps[k]) * strength[k]);
    }
    return distinct;
}

typedef struct {
    int32_t met;
    float all, recent, unused;
} Tally;

int64_t votes(const int64_t *start, const int32_t *targets, const float *scores, const int32_t *sources, int64_t count,
              const float *weights, const float *recent_weights, Tally *tally, int32_t *items, float *all,
              float *recent) {
    int64_t distinct = 0;
    for (int64_t source = 0; source < count; source++) {
        float weight = weights[source], recent_weight = recent_weights[source];
        for (int64_t k = start[sources[source]]; k < start[sources[source] + 1]; k++) {
            Tally *entry = tally + targets[k];
            items[distinct] = targets[k];
            distinct += !entry->met;
            entry->met = 1;
            entry->all += scores[k] * weight;
            entry->recent += scores[k] * recent_weight;
        }
    }
    for (int64_t k = 0; k < distinct; k++) {
        Tally *entry = tally + items[k];
        all[k] = entry->all, recent[k] = entry->recent;
        memset(entry, 0, sizeof *entry);
    }
    return distinct;
}

/* ---- the ranker's inputs ------------------------------------------------------------------------------------ */

typedef struct {
    int64_t items, popularities, user_fields, item_fields, dim, columns, clock;
    const float *popularity, *repeat_rate, *buyers, *numbers, *vectors;
    const int64_t *first_seen, *lift_offset, *lift_start;
    const int32_t *lift_items;
    const float *lift_counts, *value_share;
    const int64_t *widths, *numeric, *code_counts;
    const int32_t *const *codes;
    const float *const *shares, *const *lifts;
    const int64_t *sparse_offsets;
    double neutral_logit, lift_smoothing, code_smoothing, list_scale, vote_power;
} Release;

typedef struct {
    int64_t count;
    const int32_t *items;
    const float *all, *recent;
} Votes;

typedef struct {
    int64_t now, segment, distinct_times, owned;
    const int32_t *codes, *items;
    const float *days, *steps, *counts, *weights;
    Votes ridge, cosine;
    const float *vector;
} User;

/* The rows to fill: catalogue items first, then `unlisted` items, given by their codes and numbers. */
typedef struct {
    int64_t listed, unlisted;
    const int32_t *items;
    const int32_t *const *codes;
    const float *numbers;
} Rows;

static int64_t row_count(const Rows *rows) { return rows->listed + rows->unlisted; }

/* The row of an item in tables whose last row stands for items outside the catalogue. */
static int64_t row_of(const Release *release, const Rows *rows, int64_t row) {
    return row < rows->listed ? rows->items[row] : release->items;
}

static const int32_t *codes_of(const Release *release, const Rows *rows, int64_t field, int64_t row) {
    int64_t width = release->widths[field];
    return row < rows->listed ? release->codes[field] + rows->items[row] * width
                              : rows->codes[field] + (row - rows->listed) * width;
}

static float found(const int32_t *keys, const float *values, int64_t count, int32_t key) {
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (keys[middle] < key) low = middle + 1;
        else high = middle;
    }
    return low < count && keys[low] == key ? values[low] : 0;
}

static float lift_of(const Release *release, int64_t field, int32_t code, int64_t item) {
    int64_t value = release->lift_offset[field] + code, start = release->lift_start[value];
    float count = found(release->lift_items + start, release->lift_counts + start,
                        release->lift_start[value + 1] - start, item < release->items ? (int32_t)item : -1);
    float expected = release->buyers[item] * release->value_share[value], smoothing = (float)release->lift_smoothing;
    return logf((count + smoothing) / (expected + smoothing));
}

void lift(const Release *release, int64_t field, int32_t code, const int32_t *items, int64_t count, float *lifts) {
    for (int64_t k = 0; k < count; k++) lifts[k] = lift_of(release, field, code, items[k]);
}

static float *statistics_columns(const Release *release, const User *user, const Rows *rows, float *column) {
    for (int64_t row = 0; row < row_count(rows); row++) {
        int64_t item = row_of(release, rows, row), age = user->now - release->first_seen[item];
        float *cell = column + row * release->columns;
        for (int64_t k = 0; k < release->popularities; k++)
            *cell++ = release->popularity[item * release->popularities + k];
        *cell++ = release->repeat_rate[item];
        *cell++ = release->clock ? (float)log1p((double)(age > 0 ? age : 0) / DAY) : 0;
        for (int64_t field = 0; field < release->user_fields; field++)
            *cell++ = lift_of(release, field, user->codes[field], item);
    }
    return column + release->popularities + 2 + release->user_fields;
}

static float strongest(const float *votes, int64_t count) {
    float most = 0;
    for (int64_t k = 0; k < count; k++)
        if (votes[k] > most) most = votes[k];
    return most;
}

/* Two columns for a kind of votes: the logarithm, and the ratio to the strongest vote, raised to `vote_power`. */
static void vote_columns(const Release *release, const Rows *rows, const Votes *votes, const float *values, float size,
                         const int32_t *slot, float *column) {
    float scale = (float)release->list_scale / size, most = fmaxf(strongest(values, votes->count), 1e-9f);
    for (int64_t row = 0; row < rows->listed; row++) {
        int32_t place = slot[rows->items[row]];
        if (!place) continue;
        float vote = values[place - 1], *cell = column + row * release->columns;
        cell[0] = copysignf(log1pf(fabsf(vote) * scale), vote);
        cell[4] = vote > 0 ? powf(vote / most, (float)release->vote_power) : 0;
    }
}

static float *list_columns(const Release *release, const User *user, const Rows *rows, int32_t *slot, float *column) {
    float recent = 1e-6f;
    for (int64_t k = 0; k < user->owned; k++) recent += user->weights[k];
    const Votes *lists[] = {&user->ridge, &user->cosine};
    for (int64_t list = 0; user->owned && list < 2; list++) {
        const Votes *votes = lists[list];
        for (int64_t k = 0; k < votes->count; k++) slot[votes->items[k]] = (int32_t)k + 1;
        vote_columns(release, rows, votes, votes->all, sqrtf((float)user->owned), slot, column + list);
        vote_columns(release, rows, votes, votes->recent, sqrtf(recent), slot, column + 2 + list);
        for (int64_t k = 0; k < votes->count; k++) slot[votes->items[k]] = 0;
    }
    return column + 8;
}

static float *tower_column(const Release *release, const User *user, const Rows *rows, float *column) {
    for (int64_t row = 0; row < row_count(rows); row++) {
        float logit = (float)release->neutral_logit;
        if (user->vector && release->dim && row < rows->listed) {
            const float *vector = release->vectors + rows->items[row] * release->dim;
            logit = 0;
            for (int64_t k = 0; k < release->dim; k++) logit += vector[k] * user->vector[k];
        }
        column[row * release->columns] = logit;
    }
    return column + 1;
}

/* For an item field: count, lift, distinct items and recency of the history's actions on items with the same codes. */
static void code_columns(const Release *release, const User *user, const Rows *rows, int64_t field, float *sums,
                         float *column) {
    const int32_t *table = release->codes[field];
    const float *shares = release->shares[field];
    int64_t width = release->widths[field];
    float smoothing = (float)release->code_smoothing, total = 0;
    for (int64_t k = 0; k < user->owned; k++) {
        total += user->counts[k];
        for (int64_t part = 0; part < width; part++) {
            float *sum = sums + 3 * table[user->items[k] * width + part];
            sum[0] += user->counts[k], sum[1] += 1, sum[2] += user->weights[k];
        }
    }
    for (int64_t row = 0; row < row_count(rows); row++) {
        const int32_t *codes = codes_of(release, rows, field, row);
        float *cell = column + row * release->columns, known = 0;
        for (int64_t part = 0; part < width; part++) {
            if (codes[part] == MISSING) continue;
            /* Histories are short, so a code that is rare in the history must not count against an item. */
            const float *sum = sums + 3 * codes[part];
            float expected = shares[codes[part]];
            cell[0] += log1pf(sum[0]);
            cell[1] += logf((sum[0] + smoothing * expected) / ((total + smoothing) * expected));
            cell[2] += log1pf(sum[1]);
            cell[3] += log1pf((float)release->list_scale * sum[2]);
            known++;
        }
        for (int64_t k = 0; known > 1 && k < 4; k++) cell[k] /= known;
    }
    for (int64_t k = 0; k < user->owned * width; k++)
        memset(sums + 3 * table[user->items[k / width] * width + k % width], 0, 3 * sizeof *sums);
}

/* The negative distance of an item's number from the mean over the history. */
static void distance_column(const Release *release, const User *user, const Rows *rows, int64_t field, float *column) {
    float sum = 0, total = 0;
    for (int64_t k = 0; k < user->owned; k++) {
        sum += release->numbers[user->items[k] * release->item_fields + field] * user->counts[k];
        total += user->counts[k];
    }
    for (int64_t row = 0; row < row_count(rows); row++) {
        const float *numbers = row < rows->listed ? release->numbers + rows->items[row] * release->item_fields
                                                  : rows->numbers + (row - rows->listed) * release->item_fields;
        column[row * release->columns] = -fabsf(numbers[field] - sum / total);
    }
}

/* How much more often users with the same profile act on items with an item's codes than others do. */
static void profile_column(const Release *release, const User *user, const Rows *rows, int64_t field, float *column) {
    int64_t width = release->widths[field], count = release->code_counts[field];
    for (int64_t row = 0; count && row < row_count(rows); row++) {
        const int32_t *codes = codes_of(release, rows, field, row);
        float sum = 0, known = 0;
        for (int64_t part = 0; part < width; part++) {
            if (codes[part] == MISSING) continue;
            for (int64_t k = 0; k < release->user_fields; k++)
                sum += release->lifts[field][(release->lift_offset[k] + user->codes[k]) * count + codes[part]];
            known++;
        }
        column[row * release->columns] = known ? sum / known : 0;
    }
}

static float *item_field_columns(const Release *release, const User *user, const Rows *rows, float *sums,
                                 float *column) {
    for (int64_t field = 0; field < release->item_fields; field++, column += 4)
        if (user->owned) code_columns(release, user, rows, field, sums, column);
    for (int64_t field = 0; field < release->item_fields; field++)
        if (release->numeric[field]) {
            if (user->owned) distance_column(release, user, rows, field, column);
            column++;
        }
    for (int64_t field = 0; release->user_fields && field < release->item_fields; field++)
        profile_column(release, user, rows, field, column++);
    return column;
}

/* For items in the history: how often and how long ago, and crosses that are 0 for all other items. */
static void own_columns(const Release *release, const User *user, const Rows *rows, int32_t *slot,
                        const float *first_lift, float *column) {
    const float *since = release->clock ? user->days : user->steps;
    float idle = INFINITY, idle_days = INFINITY, total = 0;
    for (int64_t k = 0; k < user->owned; k++) {
        idle = fminf(idle, since[k]);
        idle_days = fminf(idle_days, user->days[k]);
        total += user->counts[k];
        slot[user->items[k]] = (int32_t)k + 1;
    }
    float size = log1pf((float)user->owned), times = log1pf((float)user->distinct_times);
    float idle_log = release->clock ? log1pf(idle_days) : 0;
    float unpopular = release->popularity[release->items * release->popularities];
    for (int64_t row = 0; row < row_count(rows); row++) {
        int64_t place = row < rows->listed ? slot[rows->items[row]] : 0;
        float *cell = column + row * release->columns;
        cell[13] = size, cell[14] = times, cell[15] = idle_log;
        if (!place) continue;
        float count = user->counts[place - 1], ago = log1pf(since[place - 1]);
        cell[0] = 1;
        cell[1] = log1pf(count);
        cell[2] = logf((count + 0.1f) / (float)user->distinct_times);
        cell[3] = count / total;
        cell[4] = -ago;
        cell[5] = -(ago - log1pf(idle));
        cell[6] = size;
        cell[7] = times;
        cell[8] = release->popularity[rows->items[row] * release->popularities] - unpopular;
        cell[9] = count == 1;
        cell[10] = count > 2;
        cell[11] = first_lift ? first_lift[row * release->columns] : 0;
        cell[12] = logf(release->repeat_rate[rows->items[row]] + 0.01f);
    }
    for (int64_t k = 0; k < user->owned; k++) slot[user->items[k]] = 0;
}

static void sparse_columns(const Release *release, const User *user, const Rows *rows, int64_t *sparse) {
    const int64_t *offsets = release->sparse_offsets;
    int64_t *cell = sparse;
    for (int64_t row = 0; row < row_count(rows); row++) {
        *cell++ = user->segment + offsets[0];
        for (int64_t field = 0; field < release->user_fields; field++)
            *cell++ = user->codes[field] + offsets[1 + field];
        for (int64_t field = 0; field < release->item_fields; field++) {
            int64_t width = release->widths[field];
            int32_t code = row < rows->listed ? release->codes[field][rows->items[row] * width]
                                              : rows->codes[field][(row - rows->listed) * width];
            *cell++ = code + offsets[1 + release->user_fields + field];
        }
    }
}

/* The caller zeroes `dense`, float32 [rows, columns]. `sums` is scratch with 3 places for each code. */
void ranker_rows(const Release *release, const User *user, const Rows *rows, int32_t *slot, float *sums, float *dense,
                 int64_t *sparse) {
    float *column = statistics_columns(release, user, rows, dense);
    column = list_columns(release, user, rows, slot, column);
    column = tower_column(release, user, rows, column);
    const float *first_lift = release->item_fields ? column + 1 : NULL;
    column = item_field_columns(release, user, rows, sums, column);
    if (user->owned) own_columns(release, user, rows, slot, first_lift, column);
    sparse_columns(release, user, rows, sparse);
}
