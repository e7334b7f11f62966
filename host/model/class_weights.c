/* The recipe's class_weights: `balanced`, a list, or {name: weight}. */
#include <string.h>

#include "model/graph.h"

/* The set's classes, as the recipe may speak of them. */
typedef struct set {
    const char *const *names;
    const size_t *images;
    size_t classes;
} set;

/* Only their ratios count: of larger ones a batch's sum would overflow, smaller ones would be taken for 0. */
#define LEAST 1e-30
#define MOST 1e30

static convoy_status read_weight(const cvy_node *node, float *weight) {
    double value;
    if (node->kind != CVY_SCALAR || !cvy_text_to_double(node->text, &value) || value < 0)
        return cvy_node_fail(node, "class_weights: a weight is a number from 0 on, found `%s`",
                             node->kind == CVY_SCALAR ? node->text : "a list");
    if (value != 0 && !(value >= LEAST && value <= MOST))
        return cvy_node_fail(
            node,
            "class_weights: %s is too %s to be added up over a batch: weights count relative to each "
            "other, so take some around 1 (%g to %g, or 0)",
            node->text, value > MOST ? "large" : "small", LEAST, MOST);
    *weight = (float)value;
    return CONVOY_OK;
}

/* scikit-learn's compute_class_weight("balanced"). */
static convoy_status balance(const cvy_node *node, const set *of, float *weights) {
    double all = 0;
    for (size_t c = 0; c < of->classes; c++)
        all += (double)of->images[c];
    for (size_t c = 0; c < of->classes; c++) {
        if (!of->images[c])
            return cvy_node_fail(
                node,
                "class_weights: class %s has no training images to be balanced by: add some, or "
                "give weights by name",
                of->names[c]);
        weights[c] = (float)(all / ((double)of->classes * (double)of->images[c]));
    }
    return CONVOY_OK;
}

static convoy_status read_list(const cvy_node *list, const set *of, float *weights) {
    convoy_status status = CONVOY_OK;
    if (list->count > of->classes)
        return cvy_node_fail(list->items[of->classes],
                             "class_weights: a weight for class %zu, but there are only %zu classes",
                             of->classes, of->classes);
    if (list->count < of->classes)
        return cvy_node_fail(list, "class_weights: %zu weights for %zu classes; class %s has none",
                             list->count, of->classes, of->names[list->count]);
    for (size_t c = 0; c < of->classes && !status; c++)
        status = read_weight(list->items[c], &weights[c]);
    return status;
}

static convoy_status read_names(const cvy_node *mapping, const set *of, float *weights) {
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < mapping->count && !status; i++) {
        const cvy_node *key = mapping->keys[i];
        size_t c = 0;
        while (c < of->classes && strcmp(of->names[c], key->text) != 0)
            c++;
        if (c == of->classes) {
            const char *nearest = cvy_text_nearest(key->text, of->names, of->classes);
            return cvy_node_fail(key, "class_weights: the data have no class `%s`%s%s%s", key->text,
                                 nearest ? "; did you mean `" : "; the classes begin with `",
                                 nearest ? nearest : of->names[0], nearest ? "`?" : "`");
        }
        status = read_weight(mapping->items[i], &weights[c]);
    }
    return status;
}

convoy_status cvy_model_class_weights(const convoy_model *model, const char *const *names,
                                      const size_t *images, float *weights) {
    const set of = {names, images, (size_t)convoy_model_classes(model)};
    const cvy_node *node = model->recipe.class_weights;
    convoy_status status = CONVOY_OK;
    for (size_t c = 0; c < of.classes; c++)
        weights[c] = 1;
    if (node->kind == CVY_SEQUENCE)
        status = read_list(node, &of, weights);
    else if (node->kind == CVY_MAPPING)
        status = read_names(node, &of, weights);
    else if (strcmp(node->text, "balanced") == 0)
        status = balance(node, &of, weights);
    else
        status =
            cvy_node_fail(node,
                          "class_weights: `balanced`, a list of weights, or {class: weight} are expected, "
                          "found `%s`",
                          node->text);
    if (status)
        return status;
    for (size_t c = 0; c < of.classes; c++)
        if (weights[c] > 0)
            return CONVOY_OK;
    return cvy_node_fail(node, "class_weights: all are 0, so that nothing is learnt");
}
