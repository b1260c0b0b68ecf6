"""The functions that a read query may call, per dialect.

On a list stands what computes from its arguments alone. What runs SQL held in a string, sleeps, locks,
reads files or settings, reaches another host, or moves a sequence never joins it.
"""

from __future__ import annotations

_COMMON = """
    abs acos asin atan atan2 avg cast ceil ceiling coalesce concat concat_ws convert cos cot count
    cume_dist current_date current_time current_timestamp date degrees dense_rank exp extract first_value
    floor format greatest grouping if ifnull instr iif json json_array json_object lag last_value lead least
    left length ln log log10 log2 lower lpad ltrim max min mod nth_value ntile nullif octet_length
    percent_rank pi position pow power radians rank replace reverse right round row_number rpad rtrim sign
    sin sqrt substr substring sum tan time trim upper
"""

_POSTGRES = """
    acosd acosh age any_value array_agg array_append array_cat array_dims array_length array_lower
    array_ndims array_position array_positions array_prepend array_remove array_replace array_reverse
    array_shuffle array_sort array_to_json array_to_string array_to_tsvector array_upper ascii
    asind asinh atan2d atand atanh bit_and bit_count bit_length bit_or bit_xor bool_and bool_or box btrim
    cardinality cbrt center char_length character_length chr circle clock_timestamp convert_from convert_to
    corr cosd cosh cotd covar_pop covar_samp current_catalog current_database current_role current_schema
    current_user date_add date_bin date_part date_subtract date_trunc daterange
    decode diagonal diameter div encode enum_first enum_last enum_range erf erfc every factorial
    gcd gen_random_uuid generate_series generate_subscripts get_bit get_byte height host hostmask inet_merge
    inet_same_family initcap int4multirange int4range int8multirange int8range isempty isfinite
    json_agg json_array_elements json_array_elements_text json_array_length json_arrayagg json_build_array
    json_build_object json_each json_each_text json_exists json_extract_path json_extract_path_text
    json_object_agg json_object_keys json_objectagg json_populate_record json_populate_recordset json_query
    json_scalar json_serialize json_strip_nulls json_table json_to_record json_to_recordset json_typeof
    json_value jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array
    jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert
    jsonb_object jsonb_object_agg jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query
    jsonb_path_query_array jsonb_path_query_first jsonb_populate_record jsonb_populate_recordset jsonb_pretty
    jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof justify_days
    justify_hours justify_interval lcm levenshtein localtime localtimestamp lower_inc lower_inf
    macaddr8_set7bit make_date make_interval make_time make_timestamp make_timestamptz masklen md5
    min_scale mode multirange netmask network normalize now num_nonnulls num_nulls numnode numrange
    nummultirange overlay parse_ident path percentile_cont percentile_disc pg_typeof phraseto_tsquery
    plainto_tsquery point polygon quote_ident quote_literal quote_nullable radius random
    range_agg range_intersect_agg range_merge regexp_count regexp_instr regexp_like regexp_match
    regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr regr_avgx
    regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy repeat row_to_json scale
    session_user set_bit set_byte setweight sha224 sha256 sha384 sha512 similarity sind sinh
    split_part starts_with statement_timestamp stddev stddev_pop stddev_samp string_agg string_to_array
    string_to_table strip strpos tand tanh text timeofday timezone to_ascii to_bin to_char to_date to_hex
    to_json to_jsonb to_number to_oct to_timestamp to_tsquery to_tsvector transaction_timestamp translate
    trim_array trim_scale trunc ts_delete ts_filter ts_headline ts_rank ts_rank_cd tsquery_phrase
    tsvector_to_array tsrange tstzrange tsmultirange tstzmultirange unaccent unnest upper_inc upper_inf
    uuid_extract_timestamp uuid_extract_version var_pop var_samp variance version
    websearch_to_tsquery width width_bucket word_similarity xmlagg xmlattributes xmlconcat xmlelement
    xmlexists xmlforest xmlparse xmlserialize xpath xpath_exists
"""

_MYSQL = """
    adddate addtime any_value ascii bin bin_to_uuid bit_and bit_count bit_length bit_or bit_xor char
    char_length character_length charset coercibility collation conv convert_tz crc32 curdate
    current_role current_user curtime database date_add date_format date_sub datediff day dayname dayofmonth
    dayofweek dayofyear elt export_set field find_in_set format_bytes from_base64 from_days from_unixtime
    get_format group_concat hex hour inet6_aton inet6_ntoa inet_aton inet_ntoa insert is_ipv4 is_ipv6 is_uuid
    isnull json_arrayagg json_array_append json_array_insert json_compact json_contains json_contains_path
    json_depth json_detailed json_exists json_extract json_insert json_keys json_length json_loose json_merge
    json_merge_patch json_merge_preserve json_normalize json_objectagg json_overlaps json_pretty json_query
    json_quote json_remove json_replace json_search json_set json_storage_size json_table json_type
    json_unquote json_valid json_value last_day lcase localtime localtimestamp locate lower makedate maketime
    make_set md5 median microsecond mid minute month monthname natural_sort_key now nvl nvl2 oct ord
    percentile_cont percentile_disc period_add period_diff quarter quote rand regexp_instr regexp_like
    regexp_replace regexp_substr repeat schema sec_to_time second session_user sha sha1 sha2 soundex
    space st_area st_asgeojson st_astext st_contains st_distance st_distance_sphere st_geomfromtext
    st_intersects st_latitude st_longitude st_srid st_within st_x st_y point std stddev stddev_pop stddev_samp
    str_to_date strcmp subdate substring_index subtime sysdate system_user time_format time_to_sec timediff
    timestamp timestampadd timestampdiff to_base64 to_char to_days to_seconds truncate ucase
    unhex unix_timestamp user utc_date utc_time utc_timestamp uuid
    uuid_to_bin var_pop var_samp variance version week weekday weekofyear year yearweek
"""

_SQLITE = """
    acosh asinh atanh char concat_ws cosh datetime glob group_concat hex json_array_length json_each
    json_error_position json_extract json_group_array json_group_object json_insert json_patch json_pretty
    json_quote json_remove json_replace json_set json_tree json_type json_valid jsonb jsonb_array jsonb_each
    jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert jsonb_object jsonb_patch jsonb_remove
    jsonb_replace jsonb_set jsonb_tree julianday like likelihood likely median percentile percentile_cont
    percentile_disc printf quote random randomblob sinh soundex strftime string_agg tanh timediff total trunc
    typeof unhex unicode unistr unistr_quote unixepoch unlikely zeroblob bm25 highlight snippet subtype
"""


def _names(*texts: str) -> frozenset[str]:
    return frozenset(name for text in texts for name in text.split())


FUNCTIONS = {
    "postgres": _names(_COMMON, _POSTGRES),
    "mysql": _names(_COMMON, _MYSQL),
    "sqlite": _names(_COMMON, _SQLITE),
}
