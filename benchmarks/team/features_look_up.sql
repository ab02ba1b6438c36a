SELECT spine.customer_id, spine.ts, rows.* EXCLUDE (customer_id, discount, churned)
FROM spine
INNER JOIN rows ON rows.customer_id = spine.customer_id
